package main

import (
	"cmp"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"ipfixsuite/capture"
)

// theirs is one record as tshark shows it.
type theirs struct {
	packet  int
	pos     int // in the packet
	size    int
	raw     []byte // of the packet, from the record on
	leaves  []leaf
	version string
	// malformed: tshark gave up here, for that reason.
	malformed bool
	reason    string
	uptime    uint32 // of the header, as are those below
	seconds   uint32
	engine    uint16
	sampling  uint16

	nanoseconds uint32
}

// A leaf is a field of a flow, or a part of one.
type leaf struct {
	pos, size  int
	name, show string
	part       bool // some bits of the octets only
}

// A field is one of PDML's, which nest.
type field struct {
	Name  string `xml:"name,attr"`
	Show  string `xml:"show,attr"`
	Value string `xml:"value,attr"`
	Raw   string `xml:"unmaskedvalue,attr"`

	ShowName string  `xml:"showname,attr"`
	Pos      int     `xml:"pos,attr"`
	Size     int     `xml:"size,attr"`
	Fields   []field `xml:"field"`
}

// dissect runs tshark over a capture and returns the flows it sees.
func dissect(file string) ([]theirs, error) {
	frames, err := packets(file)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("tshark", "-r", file, "-T", "pdml", "-d", "udp.port==2055,cflow", "-d", "udp.port==4739,cflow")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var recs []theirs
	dec := xml.NewDecoder(out)
	for packet := 0; ; {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "packet":
			packet++
		case "proto":
			if !slices.ContainsFunc(start.Attr, func(a xml.Attr) bool { return a.Name.Local == "name" && a.Value == "cflow" }) {
				if err := dec.Skip(); err != nil {
					return nil, err
				}
				continue
			}
			var proto field
			if err := dec.DecodeElement(&proto, &start); err != nil {
				return nil, err
			}
			recs = append(recs, flows(packet, frames[packet-1], &proto)...)
		}
	}
	return recs, cmd.Wait()
}

// packets are the octets that PDML's positions count in.
func packets(file string) (frames [][]byte, err error) {
	f, err := capture.OpenFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		p, err := f.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		frames = append(frames, slices.Clone(p.Data))
	}
}

// flows finds the records: fields called "Flow N", or "pdu N/M" of version 5.
func flows(packet int, frame []byte, proto *field) (recs []theirs) {
	header := theirs{packet: packet}
	var walk func(f *field)
	walk = func(f *field) {
		switch f.Name {
		case "cflow.sysuptime":
			header.uptime = number(f)
		case "cflow.unix_secs":
			header.seconds = number(f)
		case "cflow.unix_nsecs":
			header.nanoseconds = number(f)
		case "cflow.engine_type":
			header.engine |= uint16(number(f)) << 8
		case "cflow.engine_id":
			header.engine |= uint16(number(f))
		case "cflow.samplingmode":
			if b, err := hex.DecodeString(f.Raw); err == nil && len(b) == 2 {
				header.sampling = uint16(b[0])<<8 | uint16(b[1])
			}
		case "cflow.version":
			header.version = f.Show
		}
		if strings.HasPrefix(f.Show, "Flow ") && f.Name == "" || strings.HasPrefix(f.Show, "pdu ") {
			r := header
			r.pos, r.size = f.Pos, f.Size
			r.collect(f.Fields)
			r.raw = frame[min(r.pos, len(frame)):]
			slices.SortStableFunc(r.leaves, func(a, b leaf) int { return cmp.Compare(a.pos, b.pos) })
			if r.version == "10" {
				r.size = r.extent()
			}
			recs = append(recs, r)
			return
		}
		for i := range f.Fields {
			walk(&f.Fields[i])
		}
	}
	walk(proto)
	return recs
}

// extent is where the last field ends: tshark does not count variable lengths
// in, and places some times elsewhere.
func (r *theirs) extent() int {
	end := 0
	for _, l := range r.leaves {
		if l.pos <= end+3 {
			end = max(end, l.pos+l.size)
		}
	}
	return end
}

func number(f *field) uint32 {
	n, err := strconv.ParseUint(f.Value, 16, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func (r *theirs) collect(fields []field) {
	for i := range fields {
		f := &fields[i]
		if f.Name == "_ws.expert" {
			if strings.Contains(f.ShowName, "Malformed") {
				r.malformed, r.reason = true, f.ShowName
			}
			continue
		}
		if f.Size > 0 && f.Name != "" && f.Pos >= r.pos {
			r.leaves = append(r.leaves, leaf{f.Pos - r.pos, f.Size, f.Name, f.Show, f.Raw != ""})
		}
		r.collect(f.Fields)
	}
}

// padV5 is the offset of the octet of a version 5 record that says nothing;
// two more stand at its end.
const padV5 = 36

// skip steps over what is no field.
func (r *theirs) skip(at int) int {
	if r.version == "5" && at == padV5 {
		return at + 1
	}
	if r.version == "5" && at == 46 {
		return 48
	}
	return at
}

// appended tells whether the record in the datagram ends at at. IPFIX has
// nothing appended.
func (r *theirs) appended(at int) bool {
	return r.version != "10" && r.skip(at) >= r.size
}

// long tells whether the length of a variable field takes three octets.
func (r *theirs) long(at int) bool { return at < len(r.raw) && r.raw[at] == 0xFF }

// at returns the octets there, and the field tshark shows for exactly those.
func (r *theirs) at(at, n int) (octets string, l *leaf) {
	if len(r.raw) < at+n {
		return fmt.Sprintf("only %d octets", len(r.raw)), nil
	}
	for i := range r.leaves {
		// Absolute times of 8 octets tshark marks as 4.
		if l := &r.leaves[i]; l.pos == at && (l.size == n || n == 8 && strings.HasPrefix(l.name, "cflow.abstime")) {
			return hex.EncodeToString(r.raw[at : at+n]), l
		}
	}
	return hex.EncodeToString(r.raw[at : at+n]), nil
}

// named returns the field of that name, which tshark shows somewhere else than
// its octets are if the end stands before the start; l if there is none.
func (r *theirs) named(name string, l *leaf) *leaf {
	for i := range r.leaves {
		if r.leaves[i].name == name {
			return &r.leaves[i]
		}
	}
	return l
}
