package dtls

import (
	"bytes"
	"encoding/hex"
	"time"

	"ipfixsuite/transport/dtls/record"
)

// plaintextAlert is told of an alert that nobody authenticated. It ends the
// handshake only if no handshake record follows soon: who forges one cannot
// keep the peer from going on.
func (d *driver) plaintextAlert(code uint8) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error = &AlertError{Code: code}
	if code == alertCloseNotify {
		err = &garbledError{err} // nobody says goodbye in a handshake
	}
	if d.alertTimer == nil {
		d.alertTimer = time.AfterFunc(alertGrace, func() { d.cancel(err) })
	}
}

// contrary is told that two servers seem to answer: one is a forger, and the
// one believed may be. It ends the handshake unless it goes on soon.
func (d *driver) contrary() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.alertTimer == nil {
		d.alertTimer = time.AfterFunc(max(alertGrace, d.cfg.Retransmit), func() { d.cancel(&garbledError{errContrary}) })
	}
}

func (d *driver) progress() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.alertTimer != nil && d.alertTimer.Stop() {
		d.alertTimer = nil
	}
	if !d.again {
		return
	}
	// Forged pieces of messages may have taken the place of the genuine ones.
	if stall := stallAfter * d.cfg.Retransmit; d.stallTimer == nil {
		d.stallTimer = time.AfterFunc(stall, func() { d.stalled(stall) })
	} else if d.stallTimer.Stop() {
		d.stallTimer.Reset(stall)
	}
}

// stalled ends a handshake of which nothing new comes. While what was written
// last has not gone yet, nothing can come.
func (d *driver) stalled(after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sh.sending.Load() {
		d.stallTimer.Reset(after)
		return
	}
	d.cancel(&garbledError{errStalled})
}

// keyTap learns the master secret at the moment pion has it.
type keyTap struct{ d *driver }

// Write takes pion's key log line: label, random, secret.
func (k keyTap) Write(line []byte) (int, error) {
	if f := bytes.Fields(line); len(f) == 3 {
		master := make([]byte, hex.DecodedLen(len(f[2])))
		if _, err := hex.Decode(master, f[2]); err == nil {
			k.d.mu.Lock()
			k.d.master = master
			k.d.mu.Unlock()
			if k.d.over != nil {
				if err := k.d.export(f[1], master); err != nil {
					k.d.cancel(err)
				}
			}
			k.d.checkFinished()
		}
	}
	return len(line), nil
}

// checkFinished finds out at a server that its client has another pre-shared
// key: the keys are there, a Finished is, and it does not open. pion would let
// the handshake time out without a word. Because the record may be forged, a
// good one has finishedGrace to follow.
func (d *driver) checkFinished() {
	if d.client {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.master == nil || !d.serverHello.suite.PSK() || d.finishedGood {
		return
	}
	clientRandom := d.peerHello().random
	d.sh.mu.Lock()
	candidates := d.sh.finished
	d.sh.mu.Unlock()
	if len(candidates) == 0 || len(clientRandom) != 32 {
		return
	}
	_, open, err := record.New(record.Secrets{
		Suite: d.serverHello.suite, Master: d.master,
		ClientRandom: clientRandom, ServerRandom: d.serverHello.random[:], LocalCID: d.grantedCID,
	})
	if err != nil {
		return
	}
	for _, rec := range candidates {
		if _, _, err := open.Open(bytes.Clone(rec)); err == nil {
			d.finishedGood = true
			if d.finishTimer != nil {
				d.finishTimer.Stop()
			}
			return
		}
	}
	if d.finishTimer == nil {
		d.finishTimer = time.AfterFunc(finishedGrace, func() {
			_ = d.refuse(errWrongPSK)
			_ = d.sh.send(d.sh.ctx, []byte{
				byte(record.Alert), 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0, 2, alertFatal, alertDecryptError,
			})
			d.cancel(errWrongPSK)
		})
	}
}

func (d *driver) stopTimers() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range []*time.Timer{d.alertTimer, d.finishTimer, d.stallTimer} {
		if t != nil {
			t.Stop()
		}
	}
	clear(d.master)
}
