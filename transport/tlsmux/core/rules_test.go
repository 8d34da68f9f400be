package core

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ipfixsuite/transport/tlsmux/wire"
)

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// script drives one end by octets: "< …" is what comes, "> …" all that is
// written then, "= …" the events since the line before; "open", "write ID N",
// "close ID", "finish ID" and "free ID N" are the application's. It accepts every
// request.
func script(t *testing.T, cfg Config, lines string) *Conn {
	t.Helper()
	c := New(cfg)
	chs := map[string]*Channel{}
	var events []string
	var last *Channel
	for n, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		line, _, _ = strings.Cut(line, "#")
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		args := strings.Fields(rest)
		bad := func(format string, a ...any) { t.Fatalf("line %d, %q: %s", n+1, line, fmt.Sprintf(format, a...)) }
		number := func() (k int) {
			_, _ = fmt.Sscan(args[1], &k)
			return k
		}
		switch verb {
		case "":
		case "<":
			for in := octets(t, rest); len(in) > 0; {
				used, err := c.Receive(in)
				if err != nil {
					events = append(events, "end: "+err.Error())
					break
				}
				in = in[used:]
				more := used > 0
				for ev, ok := c.Event(); ok; ev, ok = c.Event() {
					more = true
					last = ev.Channel
					s := []string{"", "opened", "refused", "asked", "arrived", "room", "closed"}[ev.Kind]
					switch ev.Kind {
					case Arrived:
						s += " " + string(ev.Data)
					case Refused, Closed:
						s += " " + string(ev.Text)
					case Asked:
						if err := c.Accept(ev.Channel); err != nil {
							s += ": " + err.Error()
						}
					default:
					}
					if ev.Channel.id != 0 {
						chs[ev.Channel.id.String()] = ev.Channel
					}
					events = append(events, strings.TrimSpace(s))
				}
				if !more {
					bad("%d octets are no packet", len(in))
				}
			}
		case ">":
			if got, want := c.Output(nil, 1<<16), octets(t, rest); string(got) != string(want) {
				bad("wrote % x", got)
			}
		case "=":
			if got := strings.Join(events, ", "); got != rest {
				bad("events %q", got)
			}
			events = nil
		case "open":
			ch, err := c.Open(wire.Address{Host: []byte("a"), Port: 1}, wire.Address{Host: []byte("b"), Port: 2})
			if err != nil {
				bad("%v", err)
			}
			chs["asked"] = ch
		case "write":
			chs[args[0]].Write([]byte(strings.Repeat("abcdefghij", 100)[:number()]))
		case "free":
			chs[args[0]].Free(uint32(number()))
		case "close":
			chs[args[0]].Close()
		case "finish":
			chs[args[0]].Finish()
		default:
			bad("no such verb")
		}
	}
	_ = last
	return c
}

// request is a ChannelEstablishmentRequest with window and maximum 100 and 60.
const request = "01 0017 0005 00000064 0000003c 0001 78 0001 0001 79 0002"

// The draft's rules, octet by octet.
func TestRules(t *testing.T) {
	server := Config{Window: 100, MaxPacket: 60}
	for _, row := range []struct {
		name  string
		cfg   Config
		lines string
		stats Stats
	}{
		{"2.1.2: a closure is confirmed at once, and pending writes are discarded", server, `
			< ` + request + `
			= asked
			> 02 000f 0005 8001 00000064 0000003c
			write 0005:8001 70
			> 06 0000003c 00058001 6162636465666768696a6162636465666768696a6162636465666768696a6162636465666768696a6162636465666768696a6162636465666768696a
			< 04 0007 00058001
			= closed
			> 05 0007 00058001            # and not the 10 octets that were left
			write 0005:8001 5             # nor is anything taken any more
			>`, Stats{Asked: 1, Opened: 1, Closed: 1}},
		{"2.1.2: what comes after our request to close is ignored", server, `
			< ` + request + `
			> 02 000f 0005 8001 00000064 0000003c
			close 0005:8001
			> 04 0007 00058001
			= asked
			< 06 00000002 00058001 6869
			< 08 000b 00058001 00000001
			=
			< 05 0007 00058001
			= closed
			< 06 00000002 00058001 6869   # late: without a word
			=
			>`, Stats{Asked: 1, Opened: 1, Closed: 1, Late: 1}},
		{"2.1.2: requests to close that cross are both confirmed", server, `
			< ` + request + `
			> 02 000f 0005 8001 00000064 0000003c
			close 0005:8001
			< 04 0007 00058001
			> 04 0007 00058001 05 0007 00058001
			< 05 0007 00058001
			= asked, closed`, Stats{Asked: 1, Opened: 1, Closed: 1}},
		{"2.2: nothing is sent into a window that is used up, and control packets need none", server, `
			< 01 0017 0005 00000004 00000004 0001 78 0001 0001 79 0002
			> 02 000f 0005 8001 00000064 0000003c
			write 0005:8001 9
			> 06 00000004 00058001 61626364
			>
			< 06 00000002 00058001 6869
			free 0005:8001 2
			> 08 000b 00058001 00000002
			< 08 000b 00058001 00000003
			> 06 00000003 00058001 656667
			finish 0005:8001              # waits for room
			>
			< 08 000b 00058001 00000004
			> 06 00000002 00058001 6869
			> 04 0007 00058001
			= asked, arrived hi, room, room`, Stats{Asked: 1, Opened: 1}},
		{"2.1.1: two requests are not under way with one half; one that was granted is free again", Config{Window: 100, MaxPacket: 60, Client: true}, `
			< ` + request + request + `
			= asked, asked
			> 02 000f 0005 0001 00000064 0000003c 02 000f 0005 0002 00000064 0000003c`, Stats{Asked: 2, Opened: 2}},
		{"2.1.1: an identifier that another channel has is not taken; that one goes on", Config{Client: true, Window: 100, MaxPacket: 60}, `
			open
			> 01 0017 0001 00000064 0000003c 0001 61 0001 0001 62 0002
			< 02 000f 0001 8001 00000064 0000003c
			= opened
			< 02 000f 0001 8001 00000064 0000003c   # answers nothing
			< 02 000f 0009 8001 00000064 0000003c
			=
			< 06 00000002 00018001 6869
			= arrived hi`, Stats{Opened: 1, Stray: 2}},
		{"a request that is closed before it is granted is closed then", Config{Client: true, Window: 100, MaxPacket: 60}, `
			open
			> 01 0017 0001 00000064 0000003c 0001 61 0001 0001 62 0002
			close asked
			>
			< 02 000f 0001 8001 00000064 0000003c
			> 04 0007 00018001
			< 05 0007 00018001
			= closed`, Stats{Closed: 1}},
		{"a request that is never answered costs the session nothing", Config{Client: true, Window: 100, MaxPacket: 60}, `
			open
			> 01 0017 0001 00000064 0000003c 0001 61 0001 0001 62 0002
			write asked 20                # waits for the answer
			>
			< ` + request + `
			= asked
			> 02 000f 0005 0001 00000064 0000003c`, Stats{Asked: 1, Opened: 1}},
		{"requests that make no sense are refused with a word", server, `
			< 01 0017 0005 00000000 0000003c 0001 78 0001 0001 79 0002
			> 03 0010 0005 0009 6e6f2077696e646f77
			< 01 0017 0005 00000064 00000000 0001 78 0001 0001 79 0002
			> 03 0010 0005 0009 6e6f2077696e646f77
			< 01 0017 0005 00000001 00000002 0001 78 0001 0001 79 0002
			> 03 0025 0005 001e 7061636b657473206c6172676572207468616e207468652077696e646f77
			=`, Stats{Asked: 3, Refused: 3}},
		{"channels are bounded; one that is closed makes room", Config{Window: 100, MaxPacket: 60, MaxChannels: 1}, `
			< ` + request + `
			> 02 000f 0005 8001 00000064 0000003c
			< ` + request + `
			> 03 0018 0005 0011 746f6f206d616e79206368616e6e656c73
			< 04 0007 00058001
			> 05 0007 00058001
			< ` + request + `
			> 02 000f 0005 8002 00000064 0000003c
			= asked, closed, asked`, Stats{Asked: 3, Opened: 2, Refused: 1, Closed: 1}},
		{"types that the draft does not have are skipped", server, `
			< 4d 0005 0102 ff 0003 ` + request + `
			= asked`, Stats{Asked: 1, Opened: 1, Unknown: 2}},
		{"data, credit and closures for a channel that never was", server, `
			< 06 00000002 00058001 6869 08 000b 00058001 00000001 07 000b 00058001 00000001 04 0007 00058001 05 0007 00058001
			=
			>`, Stats{Stray: 5}},
		{"3: a fault ends the channel, not the session", server, `
			< ` + request + `
			> 02 000f 0005 8001 00000064 0000003c
			< 01 0017 0006 00000064 0000003c 0001 78 0001 0001 79 0002
			> 02 000f 0006 8002 00000064 0000003c
			= asked, asked
			< 06 0000003d 00058001 ` + strings.Repeat("00", 61) + `
			= closed packet of 61 octets, more than 60
			> 04 0007 00058001
			< 06 00000002 00068002 6869
			= arrived hi`, Stats{Asked: 2, Opened: 2, Violations: 1}},
		{"what is no packet ends the session", server, `
			< ` + request + ` 05 0006 000580
			= asked, end: ChannelCloseConfirmation of length 6: not 7`, Stats{Asked: 1, Opened: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := script(t, row.cfg, row.lines)
			if c.stats != row.stats {
				t.Errorf("stats %+v, want %+v", c.stats, row.stats)
			}
			fault := row.stats.Violations > 0 || c.fatal != nil
			if c.Tainted() != fault {
				t.Errorf("tainted %v", c.Tainted())
			}
		})
	}
}

// Section 2.1.1: an identifier that an established channel has is another
// channel's, whoever chose it: the second cannot be.
func TestCollision(t *testing.T) {
	c := New(Config{Client: true})
	a, _ := c.Open(addr("a"), addr("b"))
	var success = func(half uint16) []byte {
		p := wire.Packet{Type: wire.OpenSuccess, Sender: half, Receiver: 0x8001, Window: 10, MaxPacket: 10}
		b, _ := p.AppendBinary(nil)
		return b
	}
	_ = c.Output(nil, 1<<16)
	if _, err := c.Receive(success(a.half)); err != nil {
		t.Fatal(err)
	}
	if ev, _ := c.Event(); ev.Kind != Opened {
		t.Fatalf("%+v", ev)
	}
	c.nextOurs = a.half - 1 // its half comes round again
	b, _ := c.Open(addr("a"), addr("b"))
	if b.half != a.half {
		t.Fatalf("half %d", b.half)
	}
	if _, err := c.Receive(success(b.half)); err != nil {
		t.Fatal(err)
	}
	if ev, _ := c.Event(); ev.Kind != Refused || ev.Channel != b || !strings.Contains(string(ev.Text), "another channel's") {
		t.Errorf("%v %q", ev.Kind, ev.Text)
	}
	if !c.Tainted() || c.stats.Violations != 1 || !a.Established() {
		t.Errorf("tainted %v, %+v", c.Tainted(), c.stats)
	}
	// As the answerer we choose one that is free.
	s := New(Config{})
	ids := map[wire.ChannelID]bool{}
	for range 300 {
		s.nextTo = 0 // every time the first one again
		p := wire.Packet{Type: wire.OpenRequest, Sender: 7, Window: 10, MaxPacket: 10, Source: addr("a"), Destination: addr("b")}
		in, _ := p.AppendBinary(nil)
		if _, err := s.Receive(in); err != nil {
			t.Fatal(err)
		}
		ev, _ := s.Event()
		if err := s.Accept(ev.Channel); err != nil || ids[ev.Channel.ID()] {
			t.Fatalf("%v: %v", ev.Channel.ID(), err)
		}
		ids[ev.Channel.ID()] = true
	}
}

// Strays are counted, and too many of them end the session, as types that
// nobody knows do.
func TestTooManyStrays(t *testing.T) {
	for _, packet := range []string{"06 00000000 00058001", "05 0007 00058001", "02 000f 0005 8001 00000064 0000003c", "03 0007 0005 0000", "4d 0003"} {
		c := New(Config{})
		b := octets(t, packet)
		var err error
		n := 0
		for ; err == nil && n <= 2*maxStray; n++ {
			_, err = c.Receive(b)
		}
		if !errors.Is(err, ErrStray) || n != maxStray+1 || !c.Tainted() {
			t.Errorf("%s: after %d packets %v", packet, n, err)
		}
	}
}

// A peer that reads none of our answers is not read any more: what waits for it
// is bounded, whatever it sends.
func TestAnswersAreBounded(t *testing.T) {
	for _, packet := range []string{request, "01 0017 0005 00000000 0000003c 0001 78 0001 0001 79 0002"} {
		c := New(Config{Window: 100, MaxPacket: 60, MaxAsked: 2})
		b := octets(t, packet)
		n := 0
		for ; !c.Blocked() && n < 1_000_000; n++ {
			used, err := c.Receive(b)
			if err != nil || used != len(b) {
				t.Fatalf("%d octets used, %v", used, err)
			}
			if ev, ok := c.Event(); ok && ev.Kind == Asked {
				c.Reject(ev.Channel, strings.Repeat("x", 2*wire.MaxError))
			}
		}
		if used, err := c.Receive(b); used != 0 || err != nil {
			t.Errorf("%d octets used, %v, though blocked", used, err)
		}
		if len(c.control) > maxControl+wire.MaxError+64 {
			t.Errorf("%d octets of answers wait", len(c.control))
		}
		for c.Blocked() {
			_ = c.Output(nil, 1<<14)
		}
		if used, err := c.Receive(b); used != len(b) || err != nil {
			t.Errorf("%d octets used, %v, though the peer reads again", used, err)
		}
		t.Logf("%d requests taken", n)
	}
}

// A window that is smaller than that of other channels bounds their packets,
// too (Section 2.1.1).
func TestLimit(t *testing.T) {
	c := New(Config{Window: 100, MaxPacket: 60})
	if _, err := c.Receive(octets(t, request)); err != nil {
		t.Fatal(err)
	}
	ev, _ := c.Event()
	ev.Channel.Limit(50)
	if err := c.Accept(ev.Channel); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Output(nil, 1<<16), octets(t, "02 000f 0005 8001 00000032 00000032"); string(got) != string(want) {
		t.Errorf("wrote % x", got)
	}
	ev.Channel.Limit(10) // too late
	if ev.Channel.granted != 50 {
		t.Errorf("granted %d", ev.Channel.granted)
	}
}
