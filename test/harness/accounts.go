package harness

import (
	"encoding/json"
	"os"

	"ipfixsuite/collect"
)

// Accounts are those of the exporters in the summary of a collector that has
// ended.
func (c *Collector) Accounts() []collect.ExporterAccount {
	c.t.Helper()
	var summary struct {
		Exporters []collect.ExporterAccount `json:"exporters_detail"`
	}
	raw, err := os.ReadFile(c.SummaryFile())
	if err == nil {
		err = json.Unmarshal(raw, &summary)
	}
	if err != nil || len(summary.Exporters) == 0 {
		c.t.Fatalf("no exporters in the summary: %v", err)
	}
	return summary.Exporters
}
