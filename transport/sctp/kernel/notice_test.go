package kernel

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// notification builds one as the kernel lays it out: 16- and 32-bit fields in
// the host's order.
type notification []byte

func (n notification) u16(v uint16) notification { return binary.NativeEndian.AppendUint16(n, v) }
func (n notification) u32(v uint32) notification { return binary.NativeEndian.AppendUint32(n, v) }
func (n notification) raw(b ...byte) notification {
	return append(n, b...)
}

func TestParseNotice(t *testing.T) {
	head := func(kind uint16) notification { return notification{}.u16(kind).u16(0).u32(0) }
	four := make([]byte, storageLen)
	binary.NativeEndian.PutUint16(four, familyIPv4)
	copy(four[2:], []byte{0x12, 0x83, 192, 0, 2, 1})
	six := make([]byte, storageLen)
	binary.NativeEndian.PutUint16(six, familyIPv6)
	copy(six[2:], []byte{0x12, 0x84})
	copy(six[8:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 7})
	for _, c := range []struct {
		name string
		in   notification
		want notice
		bad  bool
	}{
		{name: "empty", bad: true},
		{name: "cut off", in: notification{}.u16(noticeSenderDry), bad: true},
		{name: "dry", in: head(noticeSenderDry).u32(5), want: notice{kind: noticeSenderDry}},
		{name: "unknown", in: head(0x80FF), want: notice{kind: 0x80FF}},
		{name: "up", in: head(noticeAssocChange).u16(assocUp).u16(0).u16(10).u16(7).u32(1),
			want: notice{kind: noticeAssocChange, out: 10, in: 7}},
		{name: "change cut off", in: head(noticeAssocChange).u16(assocUp).u16(0).u16(10).u16(7), bad: true},
		{name: "no answer", in: head(noticeAssocChange).u16(assocLost).u16(0).u16(1).u16(1).u32(1),
			want: notice{kind: noticeAssocChange, state: assocLost, out: 1, in: 1}},
		{name: "aborted without cause", in: head(noticeAssocChange).u16(assocLost).u16(0).u16(1).u16(1).u32(1).raw(6, 0, 0, 4),
			want: notice{kind: noticeAssocChange, state: assocLost, out: 1, in: 1, aborted: true}},
		{name: "aborted by its user", in: head(noticeAssocChange).u16(assocLost).u16(12).u16(1).u16(1).u32(1).raw(0, 12, 0, 8, 'b', 'y', 'e', '\n'),
			want: notice{kind: noticeAssocChange, state: assocLost, out: 1, in: 1, aborted: true, cause: 12, reason: "bye."}},
		{name: "aborted, with the chunk's header", in: head(noticeAssocChange).u16(assocLost).u16(12).u16(1).u16(1).u32(1).raw(6, 0, 0, 9, 0, 12, 0, 5, 'x'),
			want: notice{kind: noticeAssocChange, state: assocLost, out: 1, in: 1, aborted: true, cause: 12, reason: "x"}},
		{name: "abort with a cause that is longer than the chunk", in: head(noticeAssocChange).u16(assocLost).u16(12).u16(1).u16(1).u32(1).raw(6, 0, 0, 12, 0, 12, 0xFF, 0xFF, 'b'),
			want: notice{kind: noticeAssocChange, state: assocLost, out: 1, in: 1, aborted: true, cause: 12}},
		{name: "path down", in: head(noticePathChange).raw(four...).u32(pathUnreachable).u32(9).u32(1),
			want: notice{kind: noticePathChange, state: pathUnreachable, cause: 9, path: netip.MustParseAddrPort("192.0.2.1:4739")}},
		{name: "path up", in: head(noticePathChange).raw(six...).u32(pathAvailable).u32(0).u32(1),
			want: notice{kind: noticePathChange, path: netip.MustParseAddrPort("[2001:db8::7]:4740")}},
		{name: "path cut off", in: head(noticePathChange).raw(four...).u32(0).u32(0), bad: true},
		{name: "send failed", in: head(noticeSendFailedEvent).u32(3).u16(5).u16(3).raw(0, 0, 0, 0).u32(77).u32(1).u32(1).raw(1, 2),
			want: notice{kind: noticeSendFailedEvent, cause: 3, stream: 5, begins: true, tag: 77}},
		{name: "send failed, the end of a message that was sent", in: notification{}.u16(noticeSendFailedEvent).u16(1).u32(0).u32(0).u16(5).u16(1).raw(0, 0, 0, 0).u32(77).u32(1).u32(1),
			want: notice{kind: noticeSendFailedEvent, stream: 5, sent: true, tag: 77}},
		{name: "send failed, old form", in: head(noticeSendFailed).u32(0).u16(5).u16(1).u16(7).u16(0).raw(0, 0, 0, 9).u32(78).u32(0).u32(0).u32(0).u32(1).u32(1),
			want: notice{kind: noticeSendFailed, stream: 5, unordered: true, begins: true, ppid: 9, tag: 78}},
		{name: "send failed cut off", in: head(noticeSendFailedEvent).u32(3).u16(5).u16(3).raw(0, 0, 0, 0).u32(77).u32(1), bad: true},
		{name: "send failed, old form, cut off", in: head(noticeSendFailed).u32(3), bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseNotice(c.in)
			if ok == c.bad {
				t.Fatalf("ok %v", ok)
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(notice{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); !c.bad && d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzParseNotice(f *testing.F) {
	f.Add([]byte{1, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 12, 0, 1, 0, 1, 0, 1, 0, 0, 0, 6, 0, 0, 12, 0, 12, 0, 8, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := parseNotice(b)
		if ok && len(b) < noticeHeader {
			t.Error("read what is not there")
		}
		if len(n.reason) > maxAbortReason {
			t.Errorf("reason of %d octets", len(n.reason))
		}
	})
}
