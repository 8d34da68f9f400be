package rotation

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/link"
)

// linkSCTP is the link type of files whose packets are SCTP's alone.
const linkSCTP = layers.LinkType(248)

// tshark reads what goes over SCTP with a stream for each Template: a Template,
// its data and its withdrawal keep to one stream, and the first Data Record of
// each stream tells how reliably others are sent (RFC 6526, Sections 4.2 and
// 4.5.2); Sequence Numbers count for each stream (RFC 7011, Section 3.1).
func TestStreams_Tshark_RFC6526_4_2(t *testing.T) {
	tshark := harness.Tool(t, "tshark")
	const n = 1200
	inner, outer := harness.FreePort(t), harness.FreePort(t)
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, "--listen", fmt.Sprintf("sctp+udp://127.0.0.1:%d?udp=%d", inner, outer), "--sink", "json:"+flows)
	r, err := link.New(fmt.Sprintf("127.0.0.1:%d", outer), link.Config{Record: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, port, _ := strings.Cut(r.Addr(), ":")
	e := harness.StartExporter(t, "--source", "ipfix:"+numberedDomains(t, n), "--max-rate", "600", "--sctp-streams", "per-template",
		"--to", fmt.Sprintf("sctp+udp://127.0.0.1:%d?udp=%s", inner, port))
	e.Summary(time.Minute)
	c.Summary()
	if missing := harness.Written(t, n, flows).Missing(); missing != 0 {
		t.Errorf("%d records missing", missing)
	}

	name := filepath.Join(t.TempDir(), "streams.pcap")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, linkSCTP); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Recorded() {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Now(), CaptureLength: len(d.Data), Length: len(d.Data)}, d.Data); err != nil {
			t.Fatal(err)
		}
	}
	out := harness.Run(t, tshark, "-r", name, "-d", fmt.Sprintf("sctp.port==%d,cflow", inner), "-Y", "cflow", "-T", "pdml")
	if malformed := bytes.Count(out, []byte("_ws.malformed")); malformed > 0 {
		t.Errorf("tshark cannot read %d packets", malformed)
	}
	j := streamJudge{t: t, of: make(map[string]uint64), began: make(map[string]bool)}
	j.read(out)
	if j.data < 10 || len(j.began) != streamDomains*streamTemplates+2 { // and two of statistics
		t.Errorf("tshark saw %d data sets, on %d streams of domains", j.data, len(j.began))
	}
}

// streamJudge follows which stream Templates and their data are on.
type streamJudge struct {
	t     *testing.T
	of    map[string]uint64 // stream, by domain and Template
	began map[string]bool   // domains and streams that had a Data Record
	data  int
}

// pdml is a part of what tshark writes: a proto or a field.
type pdml struct {
	Name   string `xml:"name,attr"`
	Show   string `xml:"show,attr"`
	Fields []pdml `xml:"field"`
	Protos []pdml `xml:"proto"`
}

// walk calls do for it and all within.
func (p *pdml) walk(do func(name, show string)) {
	do(p.Name, p.Show)
	for i := range p.Fields {
		p.Fields[i].walk(do)
	}
	for i := range p.Protos {
		p.Protos[i].walk(do)
	}
}

func (j *streamJudge) read(out []byte) {
	var all struct {
		Packets []pdml `xml:"packet"`
	}
	if err := xml.Unmarshal(out, &all); err != nil {
		j.t.Fatal(err)
	}
	for _, packet := range all.Packets {
		var streams []uint64
		var messages []*pdml
		for i := range packet.Protos {
			switch p := &packet.Protos[i]; p.Name {
			case "sctp":
				p.walk(func(name, show string) {
					if name == "sctp.data_sid" {
						sid, err := strconv.ParseUint(show, 0, 16)
						if err != nil {
							j.t.Fatal(err)
						}
						streams = append(streams, sid)
					}
				})
			case "cflow":
				messages = append(messages, p)
			}
		}
		if len(streams) != len(messages) {
			j.t.Fatalf("%d messages in %d chunks", len(messages), len(streams))
		}
		for i, m := range messages {
			j.message(streams[i], m)
		}
	}
}

func (j *streamJudge) message(stream uint64, m *pdml) {
	domain := ""
	on := func(what, id string) {
		key := domain + "/" + id
		if was, ok := j.of[key]; ok && was != stream {
			j.t.Errorf("%s of template %s of domain %s on stream %d, before on %d", what, id, domain, stream, was)
		}
		j.of[key] = stream
	}
	m.walk(func(name, show string) {
		switch {
		case name == "cflow.od_id" && domain == "":
			domain = show
		case name == "cflow.template_id":
			on("definition", show)
		case name == "cflow.flowset_id" && show != "2" && show != "3":
			on("data", show)
			j.data++
			at := fmt.Sprintf("%s/%d", domain, stream)
			if tells := strconv.FormatUint(65535-stream, 10); !j.began[at] && show != tells {
				j.t.Errorf("domain %s, stream %d begins with data of template %s, not with what tells of reliability (%s)", domain, stream, show, tells)
			}
			j.began[at] = true
		}
	})
}
