package collect

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

var sctp = transport.Properties{Reliable: true, Ordered: true, Streams: 16}

// The sets of an exporter that keeps RFC 6526: 300 tells how reliably the data
// of others is sent.
var (
	tellsOf   = set(3, "012c 0002 0001  0091 0002  0114 0001")
	addrs     = set(2, addresses)
	reliably  = set(300, "0100 01")
	lossily   = set(300, "0100 02")
	addrsData = set(256, flow)
	addrsEnd  = set(2, "0100 0000")
	allEnd    = set(2, "0002 0000")
	named     = set(3, "0103 0002 0001  000a 0004  0052 ffff") // 259: ingressInterface; interfaceName
	namedData = set(259, "00000001 0465746830")
)

type onStream struct {
	stream    uint16
	unordered bool
	seq       uint32
	sets      [][]byte
}

func on(stream uint16, seq uint32, sets ...[]byte) onStream {
	return onStream{stream: stream, seq: seq, sets: sets}
}

// The extension is on when the first Data Record tells of reliability (RFC 6526,
// Section 4.5.2), and off for the session once one of the conditions of Section
// 4.5.3 is met, which is logged.
func TestPerStream_RFC6526_4_5(t *testing.T) {
	unordered := on(1, 2, addrsData)
	unordered.unordered = true
	for _, tc := range []struct {
		name   string
		props  transport.Properties
		in     []onStream
		began  uint64
		broken string // the rule
	}{
		{"kept", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(1, 1, addrsData), on(1, 2, addrsData)}, 1, ""},
		{"kept, withdrawn and used again", sctp, []onStream{
			on(1, 0, tellsOf, addrs, reliably, addrsData), on(1, 2, addrsEnd), on(1, 2, set(2, "0100 0001  0008 0004"), lossily, set(256, "c0000201")),
		}, 1, ""},
		{"kept, further elements (4.5.2, MUST)", sctp, []onStream{
			on(1, 0, set(3, "012c 0003 0001  0091 0002  0114 0001  0095 0004"), addrs, set(300, "0100 01 00000007"), addrsData),
		}, 1, ""},
		{"kept, loss of what may be lost", sctp, []onStream{on(1, 0, tellsOf, addrs, lossily), on(1, 1, addrsData), on(1, 5, addrsData)}, 1, ""},
		{"kept, options data", sctp, []onStream{on(1, 0, tellsOf, named, set(300, "0103 01"), namedData)}, 1, ""},
		{"not begun", sctp, []onStream{on(1, 0, addrs, addrsData), on(1, 1, tellsOf, reliably)}, 0, ""},
		{"not begun, data unknown", sctp, []onStream{on(1, 0, addrsData), on(1, 1, tellsOf, addrs, reliably)}, 0, ""},
		{"no SCTP", tcp, []onStream{on(0, 0, tellsOf, addrs, reliably), on(0, 1, addrsData)}, 0, ""},
		{"1: data before", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably, set(2, strung), set(257, "06 0161"))}, 1, ruleUnannounced},
		{"1: data of an unknown template", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably, set(257, "06 0161"))}, 1, ruleUnannounced},
		{"1: options data, told on another stream", sctp, []onStream{on(1, 0, tellsOf, named, set(300, "0103 01")), on(2, 0, namedData)}, 1, ruleUnannounced},
		{"1: after the id is used again", sctp, []onStream{
			on(1, 0, tellsOf, addrs, reliably, addrsData), on(1, 2, addrsEnd, addrs, addrsData),
		}, 1, ruleUnannounced},
		{"2: told elsewhere", sctp, []onStream{on(1, 0, tellsOf, addrs), on(2, 0, set(3, "012d 0002 0001  0091 0002  0114 0001"), set(301, "0100 01"))}, 1, ruleElsewhere},
		{"2: told of nothing", sctp, []onStream{on(1, 0, tellsOf, reliably)}, 1, ruleElsewhere},
		{"3: told twice", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(1, 1, lossily)}, 1, ruleTwice},
		{"4: data elsewhere", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(2, 0, addrsData)}, 1, ruleOtherStream},
		{"4: withdrawal elsewhere", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(2, 0, addrsEnd)}, 1, ruleOtherStream},
		{"4: withdrawal of all elsewhere", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(2, 0, allEnd)}, 1, ruleOtherStream},
		{"5: loss of what is reliable", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(1, 1, addrsData), on(1, 5, addrsData)}, 1, ruleLoss},
		{"6: unordered", sctp, []onStream{on(1, 0, tellsOf, addrs, reliably), on(1, 1, addrsData), unordered}, 1, ruleUnordered},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			c, _, r := offline(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, tc.props)
			broken := uint64(0)
			if tc.broken != "" {
				broken = 1
				tc.in = append(tc.in, tc.in...) // it is told once
			}
			for _, m := range tc.in {
				r.Message(transport.Incoming{Data: message(1, m.seq, m.sets...), Stream: m.stream, Unordered: m.unordered, Received: start})
			}
			if st := c.Stats(); st.PerStreamSessions != tc.began || st.PerStreamBroken != broken {
				t.Errorf("%d sessions began, %d broke the rules", st.PerStreamSessions, st.PerStreamBroken)
			}
			if n := strings.Count(log.String(), "RFC 6526"); n != int(broken) || broken == 1 && !strings.Contains(log.String(), `rule="`+tc.broken) {
				t.Errorf("logged: %s", log.String())
			}
		})
	}
}

// What is lost on a stream is of the Templates that may be lost there (RFC 6526,
// Section 4.5.4).
func TestPerStream_LossByTemplate_RFC6526_4_5_4(t *testing.T) {
	c, _, r := offline(t, Config{}, sctp)
	other := set(3, "012d 0002 0001  0091 0002  0114 0001") // 301, of stream 2
	for _, m := range []onStream{
		on(1, 0, tellsOf, addrs, lossily), on(2, 0, other, set(2, strung), set(301, "0101 01")),
		on(1, 1, addrsData), on(2, 1, set(257, "06 0161")), on(1, 9, addrsData),
	} {
		r.Message(transport.Incoming{Data: message(1, m.seq, m.sets...), Stream: m.stream, Received: start})
	}
	r.Closed(nil)
	a := c.Accounts()[0].Sessions[0]
	if !a.PerStream {
		t.Error("not kept")
	}
	for i := range a.Streams {
		a.Streams[i].DataRecordsReceived = 0
	}
	want := []StreamAccount{
		{Domain: 1, Stream: 1, Loss: Loss{RecordsLost: 7}, LossyTemplates: []uint16{256}},
		{Domain: 1, Stream: 2},
	}
	if diff := cmp.Diff(want, a.Streams); diff != "" {
		t.Error(diff)
	}
}
