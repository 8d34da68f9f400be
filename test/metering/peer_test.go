package metering

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"ipfixsuite/capture"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/metering"
	"ipfixsuite/test/workload"
)

const (
	packets = 1_000_000
	biflows = 100_000
)

// export reads a capture, meters it and sends IPFIX messages: what softflowd
// does with it, in the least of programs.
func export(path, to string) error {
	f, err := capture.OpenFile(path)
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	templates := map[metering.TemplateKind]*ipfix.Template{}
	var b ipfix.Builder
	var sequence uint32
	buf, rec := make([]byte, 0, 1400), []byte(nil)
	send := func() {
		n := b.Records()
		conn.Write(b.Finish(ipfix.Header{Sequence: sequence})) // refused when the sink is full; softflowd does not care either
		sequence += uint32(n)
		b.Reset(buf, 1400)
	}
	b.Reset(buf, 1400)
	m := metering.New(metering.Config{Biflow: true}, func(f *metering.Flow) {
		k := f.Template()
		t := templates[k]
		if t == nil {
			t, _ = ipfix.NewTemplate(uint16(256+len(templates)), 0, metering.Specs(k), ie.IANA())
			templates[k] = t
			if !b.AddTemplate(t) {
				send()
				b.AddTemplate(t)
			}
		}
		rec = f.AppendRecord(rec[:0])
		if !b.AddRecord(t, rec) {
			send()
			b.AddRecord(t, rec)
		}
	})
	for {
		p, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		m.Packet(p.Time, metering.LinkType(p.Link), p.Data, p.Length, p.Interface)
	}
	m.Flush()
	send()
	s := m.Stats()
	fmt.Printf("%d packets, %d flows, %d records, %d octets of memory\n", s.Packets, s.Flows, s.Records, s.Memory)
	return f.Close()
}

// cpu runs a program and tells its processor time, user and system.
func cpu(b *testing.B, cmd *exec.Cmd) time.Duration {
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	b.Logf("%s", out)
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// BenchmarkPeer_Softflowd compares processor time from a capture of a million
// packets to flow messages on a UDP socket nobody reads. Run it with
// -benchtime 3x; the best of the runs count.
func BenchmarkPeer_Softflowd(b *testing.B) {
	need(b, "softflowd")
	dir := b.TempDir()
	path := filepath.Join(dir, "bench.pcap")
	if err := workload.Capture(path, packets, biflows); err != nil {
		b.Fatal(err)
	}
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	to := sink.LocalAddr().String()
	ours, theirs := time.Hour, time.Hour
	for b.Loop() {
		own := exec.CommandContext(b.Context(), os.Args[0])
		own.Env = append(os.Environ(), childEnv+"=export "+path+" "+to)
		ours = min(ours, cpu(b, own))
		theirs = min(theirs, cpu(b, exec.CommandContext(b.Context(), "softflowd", "-d", "-r", path, "-n", to, "-v", "10",
			"-m", "400000", "-p", filepath.Join(dir, "pid"), "-c", "none")))
	}
	b.ReportMetric(ours.Seconds(), "ours-cpu-s/Mpkt")
	b.ReportMetric(theirs.Seconds(), "softflowd-cpu-s/Mpkt")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// BenchmarkPeer_Pcapgo reads the same file by our reader and by gopacket's.
func BenchmarkPeer_Pcapgo(b *testing.B) {
	path := filepath.Join(b.TempDir(), "bench.pcap")
	if err := workload.Capture(path, packets, biflows); err != nil {
		b.Fatal(err)
	}
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			f, err := capture.OpenFile(path)
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = f.Next()
			}
			f.Close()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
	})
	b.Run("pcapgo", func(b *testing.B) {
		for b.Loop() {
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			r, err := pcapgo.NewReader(bufio.NewReaderSize(f, 256<<10))
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, _, err = r.ZeroCopyReadPacketData()
			}
			f.Close()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
	})
}
