package export

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export/spool"
)

// garble overwrites some octets in the middle of a file.
func garble(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(make([]byte, 64), st.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Records that the disk has garbled are counted as dropped and told, whether
// this run spooled them or an earlier one.
func TestSpool_GarbledIsTold_RFC7011_4_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40_000
		dir := t.TempDir()
		cfg := spool.Config{SegmentBytes: 256 << 10}
		e := start(t, Config{Dialer: &testDialer{}, SpoolDir: dir, Spool: cfg})
		e.write(1, n)
		time.Sleep(3 * time.Second)
		if err := e.close(time.Second); err != nil {
			t.Fatal(err)
		}
		s := newTestSession(1, dtlsLike, 1400)
		e = start(t, Config{Dialer: refusals(5, s), SpoolDir: dir, Spool: cfg})
		e.write(n+1, 2*n)
		time.Sleep(3 * time.Second)
		files, err := filepath.Glob(filepath.Join(dir, "spool-*.ipfix"))
		if err != nil || len(files) < 4 {
			t.Fatalf("%v, %v", files, err)
		}
		garble(t, files[0])
		garble(t, files[len(files)-1])
		time.Sleep(time.Minute)
		if err := e.close(20 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		sum := e.Summary()
		if sum.RecordsExported != 2*n || sum.RecordsDropped < 2 || sum.RecordsDropped > 300 || sum.RecordsSent+sum.RecordsDropped != 2*n {
			t.Errorf("%+v", sum)
		}
		if got := len(numbers(s.domains[0])); uint64(got) != sum.RecordsSent {
			t.Errorf("%d records came, %d were sent", got, sum.RecordsSent)
		}
		told := uint64(0)
		for _, o := range s.domains[0].options {
			if v, ok := o[notSentFlowTotalCount]; ok {
				told = v
			}
		}
		if told != sum.RecordsDropped {
			t.Errorf("the statistics tell of %d records, want %d", told, sum.RecordsDropped)
		}
		emptySpool(t, dir)
	})
}
