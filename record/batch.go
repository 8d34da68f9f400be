package record

import (
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// Meta stands in the @ fields of a line.
type Meta struct {
	Exporter   string // certificate name, PSK identity or address
	Session    uint64
	Domain     uint32
	ExportTime uint32 // UNIX seconds, of the message
}

// A Batch is one Data Set on its way to the sinks: records of one template out
// of one message. It aliases the buffer that the message was received into and
// is valid during the call it is passed to.
type Batch struct {
	*Meta
	Template *ipfix.Template
	Body     []byte // the set without its header; padding may follow the records
	Records  int    // in Body
	// Lists finds the templates of subTemplateLists; nil where there are none.
	Lists func(id uint16) *ipfix.Template
	// Registry names the elements of basicLists; nil is IANA's.
	Registry *ie.Registry
}
