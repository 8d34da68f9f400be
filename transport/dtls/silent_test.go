package dtls

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

// A handshake that nobody answers says so, whoever's time was over, and what to
// look at.
func TestDial_NobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, exporter := mutual(t)
		d := memDialer(newMemNetwork(), collectorAddr, exporter, addrN(1))
		for _, most := range []time.Duration{3 * time.Second, time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), most)
			_, err := d.Dial(ctx)
			cancel()
			if err == nil || !strings.HasSuffix(err.Error(), errTimeout.Error()) || !strings.Contains(transport.Hint(err), "firewall") {
				t.Errorf("%v: %v, hint %q", most, err, transport.Hint(err))
			}
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errTimeout) {
				t.Errorf("%v: the cause is lost in %v", most, err)
			}
		}
	})
}
