package metering

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// generate writes a capture of TCP biflows whose packets come in no order.
func generate(b *testing.B, path string) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	le := binary.LittleEndian
	w.Write([]byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0})
	rng := rand.New(rand.NewPCG(1, 2))
	frame := make([]byte, 16+54)
	copy(frame[16:], []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6})
	for i := range packets {
		us := uint64(i) * 10 // 100 k packets a second
		flow := rng.Uint32N(biflows)
		length := 54 + rng.IntN(1460)
		le.PutUint32(frame, uint32(1_700_000_000+us/1e6))
		le.PutUint32(frame[4:], uint32(us%1e6))
		le.PutUint32(frame[8:], 54)
		le.PutUint32(frame[12:], uint32(length))
		ip := frame[16+14:]
		binary.BigEndian.PutUint16(ip[2:], uint16(length-14))
		src, dst := ip[12:16], ip[16:20]
		sport, dport := ip[20:22], ip[22:24]
		if rng.IntN(2) == 0 {
			src, dst, sport, dport = dst, src, dport, sport
		}
		binary.BigEndian.PutUint32(src, 0x0a000000+flow)
		binary.BigEndian.PutUint32(dst, 0xc0000200+flow%200)
		binary.BigEndian.PutUint16(sport, uint16(1024+flow%60000))
		binary.BigEndian.PutUint16(dport, 443)
		ip[32], ip[33] = 0x50, 0x10
		w.Write(frame)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
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
	generate(b, path)
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
	generate(b, path)
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
