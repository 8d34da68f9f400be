package core

import (
	"encoding/hex"
	"slices"
	"testing"

	"ipfixsuite/transport/dccp/wire"
)

// What a Linux 6.1 kernel sent to another one, played to our ends: their
// numbers are taken over, so that the capture fits.
var linuxPackets = map[string]string{
	"request":  "83f6166b0e00f3d5010072d3ff69078b49504658000029060003988f20040102220401020120040200012004040101220406010120040601",
	"response": "166b83f615004f770300c27fc5ab7bec000072d3ff69078b4950465800002a080003988f000129060003989221050102022305010202012004020023050200000120040401230504010101220406010120040601",
	"ack":      "83f6166b0d00b76a070072d3ff69078c0000c27fc5ab7bec2a080003989200012305020000230504010123050601012105060101",
	// Its data was 200 octets; the header is what matters.
	"dataack":  "83f6166b0b0009d5090072d3ff69078d0000c27fc5ab7bec2305020000230504010123050601012105060101303030307878",
	"closereq": "166b83f60b0076080b00c27fc5ab7bf2000072d3ff6907940000002603012009030000000000322005050001",
	"srvack":   "166b83f60700d8520700c27fc5ab7bed000072d3ff69078e00260301",
}

func linuxPacket(t *testing.T, name string) *wire.Packet {
	t.Helper()
	b, err := hex.DecodeString(linuxPackets[name])
	if err != nil {
		t.Fatal(err)
	}
	p := new(wire.Packet)
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLinuxClient(t *testing.T) {
	c := new(Conn)
	c.respond(start, plainConfig(), linuxPacket(t, "request"), linuxPacket(t, "response").Seq)
	s := &side{t: t, c: c}
	out := s.packets(start)
	if len(out) != 1 || out[0].Type != wire.Response || out[0].Service != 0x49504658 {
		t.Fatalf("%v", summary(out))
	}
	// What it insists on is confirmed: value and list.
	for _, o := range [][]byte{{33, 5, 1, 2, 2}, {35, 5, 1, 2, 2}, {35, 5, 2, 0, 0}, {35, 6, 4, 1, 0, 1}, {33, 6, 6, 1, 1, 0}} {
		if !has(out[0], o...) {
			t.Errorf("Response lacks %v: %v", o, featureOptions(out[0]))
		}
	}
	if echo := option(out[0], wire.OptTimestampEcho); !slices.Equal(echo, []byte{0, 3, 0x98, 0x8f}) {
		t.Errorf("Timestamp Echo %x", echo)
	}
	s.handle(start, linuxPacket(t, "ack"))
	if c.State() != StateOpen || c.feat.value(remote, wire.FeatECNIncapable) != 1 || c.feat.value(local, wire.FeatECNIncapable) != 1 {
		t.Fatalf("%v, %v", c.State(), c.Err())
	}
	s.handle(start, linuxPacket(t, "dataack"))
	if !slices.Equal(s.got, []string{"0000xx"}) {
		t.Errorf("got %q", s.got)
	}
	out = s.packets(start)
	if len(out) == 0 || option(out[len(out)-1], wire.OptAckVector0) == nil {
		t.Errorf("no Ack Vector: %v", summary(out))
	}
}

func TestLinuxServer(t *testing.T) {
	request, response := linuxPacket(t, "request"), linuxPacket(t, "response")
	c := NewClient(start, plainConfig(), Ports{Local: request.SrcPort, Remote: request.DstPort, Service: request.Service}, request.Seq)
	s := &side{t: t, c: c}
	s.packets(start)
	s.handle(start, response)
	out := s.packets(start)
	if c.State() != StatePartOpen || len(out) != 1 || out[0].Type != wire.Ack || out[0].Ack != response.Seq {
		t.Fatalf("%v %v, %v", c.State(), summary(out), c.Err())
	}
	// Without these the kernel resets with Too Busy.
	for _, o := range [][]byte{{35, 5, 2, 0, 0}, {35, 6, 4, 1, 0, 1}, {33, 6, 6, 1, 1, 0}, {35, 5, 6, 1, 1}} {
		if !has(out[0], o...) {
			t.Errorf("Ack lacks %v: %v", o, featureOptions(out[0]))
		}
	}
	for i, m := range []string{"one", "two"} {
		if err := c.Send(start, uint64(i), []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	// Still in PARTOPEN: the Confirms are on every packet.
	out = s.packets(start)
	for _, q := range out {
		if q.Type != wire.DataAck || !has(q, 35, 6, 4, 1, 0, 1) {
			t.Errorf("%v %v", q.Type, featureOptions(q))
		}
	}
	ack := linuxPacket(t, "srvack") // acknowledges its client's third packet
	s.handle(start, ack)
	if c.State() != StateOpen || s.count(EventDelivered) != 2 {
		t.Errorf("%v, %v", c.State(), s.events)
	}
	// Its CloseReq renegotiates on the way out.
	q := linuxPacket(t, "closereq")
	q.Ack = c.gss
	s.handle(start, q)
	out = s.packets(start)
	if c.State() != StateClosing || len(out) != 1 || out[0].Type != wire.Close || out[0].Ack != q.Seq {
		t.Fatalf("%v %v", c.State(), summary(out))
	}
	if !has(out[0], 35, 9, 3, 0, 0, 0, 0, 0, 50) || !has(out[0], 35, 5, 5, 0, 1) {
		t.Errorf("Close lacks Confirms: %v", featureOptions(out[0]))
	}
	if v := c.feat.value(remote, wire.FeatAckRatio); v != 1 {
		t.Errorf("Ack Ratio %d", v)
	}
	s.handle(start, &wire.Packet{Type: wire.Reset, Seq: q.Seq + 1, Ack: out[0].Seq, Code: wire.ResetClosed})
	if c.State() != StateTimeWait || !c.Err().Clean() {
		t.Errorf("%v %v", c.State(), c.Err())
	}
}
