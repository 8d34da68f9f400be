package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/test/workload"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/udp"
)

const (
	messageSize = 1400
	messages    = 512 // distinct ones of a traffic
	tick        = time.Millisecond
	// catchUp is how much of what a sender was kept from sending it sends at
	// once; the rest makes it late, or it would be a flood.
	catchUp = 5 * time.Millisecond
)

// traffic is T20 in messages of equal length, so that a sender may have the
// kernel cut them (UDP_SEGMENT): the last record's applicationName, the only
// value of variable length, fills the message. All receivers get the same.
type traffic struct {
	setup    []byte
	messages [][]byte
	counts   []int
	sequence uint32
}

func newTraffic() (*traffic, error) {
	w := workload.T20(messages)
	t := &traffic{setup: w.Setup, counts: w.Counts}
	fixed := 0
	for _, f := range w.Templates[0].Fields {
		if f.Length != workload.Variable {
			fixed += int(f.Length)
		}
	}
	for i, m := range w.Messages {
		name := 16 + 4 + fixed // where the length of the first record's name is
		for range w.Counts[i] - 1 {
			name += 1 + int(m[name]) + fixed
		}
		if name+1+int(m[name]) != len(m) {
			return nil, fmt.Errorf("message %d: the last record does not end it", i)
		}
		fill := messageSize - len(m)
		m[name] += byte(fill)
		for range fill {
			m = append(m, 'x')
		}
		binary.BigEndian.PutUint16(m[2:], messageSize)
		binary.BigEndian.PutUint16(m[18:], messageSize-16)
		t.messages = append(t.messages, m)
	}
	return t, nil
}

// A sender hands messages to a collector.
type sender interface {
	send(batch [][]byte) error
	close() error
}

// run sends at least so many records, evenly at rate records a second, and
// returns how many; late is how much longer it took than it should have.
func (t *traffic) run(s sender, rate float64, records int) (sent int, late time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.sequence = 0
	if err := s.send([][]byte{t.setup}); err != nil {
		return 0, 0, err
	}
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	batch := make([][]byte, 0, messages)
	for next := 0; sent < records; {
		elapsed := time.Since(start)
		if behind := elapsed - time.Duration(float64(sent)/rate*1e9); behind > catchUp {
			start = start.Add(behind - catchUp)
			late += behind - catchUp
			elapsed -= behind - catchUp
		}
		due := min(int(elapsed.Seconds()*rate), records)
		for batch = batch[:0]; sent < due && len(batch) < messages; next = (next + 1) % messages {
			m := t.messages[next]
			binary.BigEndian.PutUint32(m[8:], t.sequence)
			t.sequence += uint32(t.counts[next])
			sent += t.counts[next]
			batch = append(batch, m)
		}
		if err := s.send(batch); err != nil {
			return sent, 0, err
		}
		if len(batch) < messages {
			time.Sleep(tick)
		}
	}
	return sent, late, nil
}

// single sends one datagram a system call, so that the kernel has no run to
// hand over at the other end.
type single struct{ *udp.Conn }

func (s single) WriteBatch(batch []transport.Datagram) (int, error) {
	for i := range batch {
		if _, err := s.Conn.WriteBatch(batch[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// carrier is a socket to a collector; runs: many datagrams a system call, cut
// by the kernel.
func carrier(to netip.AddrPort, runs bool) (transport.DatagramConn, error) {
	c, err := udp.Connect(context.Background(), to, udp.Config{})
	if err != nil {
		return nil, err
	}
	if runs {
		return c, nil
	}
	return single{c}, nil
}

type plainSender struct {
	conn  transport.DatagramConn
	batch []transport.Datagram
}

func dialPlain(to netip.AddrPort, runs bool) (sender, error) {
	c, err := carrier(to, runs)
	if err != nil {
		return nil, err
	}
	return &plainSender{conn: c}, nil
}

func (s *plainSender) send(batch [][]byte) error {
	s.batch = s.batch[:0]
	for _, m := range batch {
		s.batch = append(s.batch, transport.Datagram{Data: m})
	}
	_, err := s.conn.WriteBatch(s.batch)
	return err
}

func (s *plainSender) close() error { return s.conn.Close() }

type dtlsSender struct {
	session transport.Session
	batch   []transport.Outgoing
}

func dialDTLS(to netip.AddrPort, runs bool, c *credentials.Credentials) (sender, error) {
	d := dtls.Dialer{
		Connect: func(context.Context) (transport.DatagramConn, netip.AddrPort, error) {
			conn, err := carrier(to, runs)
			return conn, to, err
		},
		Config: dtls.Config{Credentials: c, ServerName: to.Addr().String()},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := d.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &dtlsSender{session: s}, nil
}

func (s *dtlsSender) send(batch [][]byte) error {
	s.batch = s.batch[:0]
	for _, m := range batch {
		s.batch = append(s.batch, transport.Outgoing{Data: m})
	}
	_, err := s.session.Send(context.Background(), s.batch)
	return err
}

func (s *dtlsSender) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.session.Close(ctx)
}

// onCPU runs f on a thread held to one processor, which processes started
// by f inherit. The sender has the first, the receiver the last.
func onCPU(cpu int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("processor %d: %w", cpu, err)
	}
	err := f()
	if back := unix.SchedSetaffinity(0, &before); err == nil {
		err = back
	}
	return err
}
