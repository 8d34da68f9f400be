package dtls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pion "github.com/pion/dtls/v3"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

const (
	// sequenceMargin is left between pion's last sequence number and our
	// first: whatever pion may still seal into the void cannot meet ours.
	sequenceMargin = 16
	// alertGrace is how long a plaintext alert, which anybody can forge, has
	// to go unanswered by handshake progress before it is believed.
	alertGrace = 250 * time.Millisecond
	// stallAfter is how many retransmission intervals, which double, may go by
	// without anything new of a handshake that can begin anew: three
	// repetitions are lost, or do not help.
	stallAfter = 8
	// finishedGrace is the same for a Finished that does not open.
	finishedGrace = 500 * time.Millisecond
	// handshakeOverhead is what a datagram holds beside the handshake body
	// that pion's MTU bounds: headers, AEAD, a Connection ID.
	handshakeOverhead = 96
	maxHandshakeMTU   = 1200

	connectionIDExtension = 54 // RFC 9146, Section 3
)

// taken is an association after the takeover.
type taken struct {
	sealer     *record.Sealer
	opener     *record.Opener
	suite      record.Suite
	identity   string
	resumed    bool
	heartbeat  heartbeat.Mode // the peer's; 0: not negotiated
	lastFlight [][]byte       // to repeat when the peer repeats its own
	cid        []byte         // on the peer's records
	random     [32]byte       // the client's
	sessionID  []byte
	creds      *credentials.Credentials // that judged the peer
	chain      [][]byte                 // its certificates
}

// driver runs one handshake.
type driver struct {
	cfg    Config
	creds  *credentials.Credentials // of the moment it began
	client bool
	again  bool          // another attempt follows if this one stalls
	cache  *sessionCache // server: of what may be resumed; nil: nothing
	places []place       // client: the same
	mtu    int           // of a datagram
	cookie []byte        // server: what the client has already returned
	over   Ordered       // the carrier, where it is no datagrams; nil else

	sh     *shim
	resume *resumption
	cancel context.CancelCauseFunc

	custom *pskKeys

	mu           sync.Mutex
	identity     string
	chain        [][]byte // of the peer
	refusal      error
	serverHello  sentHello // server: what it sent
	pskIdentity  string
	master       []byte // as soon as pion has it
	grantedCID   []byte
	alertTimer   *time.Timer
	finishTimer  *time.Timer
	stallTimer   *time.Timer
	finishedGood bool
}

type sentHello struct {
	random    [32]byte
	sessionID []byte
	suite     record.Suite
}

// run performs the handshake over sh and takes the association over. The
// shim is closed when it returns.
func (d *driver) run(ctx context.Context, sh *shim) (*taken, error) {
	d.sh = sh
	defer sh.shut()
	if d.cfg.HandshakeTimeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, d.cfg.HandshakeTimeout, errTimeout)
		defer stop()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sh.ctx, d.cancel = ctx, cancel
	defer d.stopTimers()
	sh.onAlert, sh.onProgress, sh.onFinished = d.plaintextAlert, d.progress, d.checkFinished
	sh.onContrary = d.contrary

	conn, err := d.pion()
	if err != nil {
		return nil, err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		err = d.reason(ctx, err)
		cancel(err) // what still waits in a carrier's queue need not go
		sh.mute()
		sh.shut()
		_ = conn.Close()
		return nil, err
	}
	return d.takeover(conn)
}

// takeover ends pion's part. The order is what makes it safe: no record of
// pion's leaves after mute; so every sequence number it used on the wire is in
// the snapshot; only then may it be closed, which makes it seal a close_notify
// under a number that may be ours.
func (d *driver) takeover(conn *pion.Conn) (*taken, error) {
	d.sh.mute()
	snap, err := d.snapshot(conn)
	d.sh.shut() // wakes pion's reader
	_ = conn.Close()
	if err != nil {
		return nil, err
	}
	t, err := d.associate(snap)
	clear(snap.MasterSecret)
	return t, err
}

func (d *driver) associate(snap snapshot) (*taken, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clientRandom, serverRandom := snap.LocalRandom, snap.RemoteRandom
	if !d.client {
		clientRandom, serverRandom = serverRandom, clientRandom
	}
	t := &taken{suite: record.Suite(snap.CipherSuiteID), identity: d.identity, random: clientRandom, creds: d.creds, chain: d.chain}
	var previous stored
	if d.resume != nil {
		id := d.serverHello.sessionID
		if d.client {
			id = d.peerHello().sessionID
		}
		previous, t.resumed = d.resume.resumed(id)
		t.sessionID = bytes.Clone(id)
	}
	if t.resumed {
		// An abbreviated handshake negotiates no Connection ID in pion.
		snap.LocalConnectionID, snap.RemoteConnectionID = nil, nil
	}
	secrets := record.Secrets{
		Suite: t.suite, Master: snap.MasterSecret, Client: d.client,
		ClientRandom: clientRandom[:], ServerRandom: serverRandom[:],
		LocalCID: snap.LocalConnectionID, RemoteCID: snap.RemoteConnectionID,
		Sequence: snap.SequenceNumber + sequenceMargin, Window: d.cfg.ReplayWindow,
	}
	var err error
	if t.sealer, t.opener, err = record.New(secrets); err != nil {
		return nil, err
	}
	if err := d.openFinished(t.opener); err != nil {
		return nil, err
	}
	if w := d.creds.KeyLog(); w != nil {
		// pion's own line is wrong for a server that resumes: it names the
		// server's random.
		if _, err := fmt.Fprintf(w, "CLIENT_RANDOM %x %x\n", clientRandom, snap.MasterSecret); err != nil {
			d.cfg.Log.Warn("key log not written", "error", err)
		}
	}
	t.cid = snap.LocalConnectionID
	d.sh.mu.Lock()
	// The side that sends last must be able to repeat its flight (RFC 6347,
	// Section 4.2.4): the server of a full handshake, the client of a resumed.
	if d.client == t.resumed {
		t.lastFlight = d.sh.lastFlight
	}
	d.sh.mu.Unlock()
	t.heartbeat = d.peerMode()
	if t.resumed && t.heartbeat == 0 && d.cfg.Heartbeat.mode() != 0 {
		t.heartbeat = previous.heartbeat
	}
	if d.resume != nil && !t.resumed {
		d.store(snap, t)
	}
	return t, nil
}

// openFinished proves the derived keys on what the peer sealed with them,
// before anything of ours is sealed.
func (d *driver) openFinished(o *record.Opener) error {
	d.sh.mu.Lock()
	defer d.sh.mu.Unlock()
	for _, rec := range d.sh.finished {
		t, content, err := o.Open(bytes.Clone(rec))
		if err == nil && t == record.Handshake && len(content) > 0 && content[0] == typeFinished {
			d.sh.finished = nil
			return nil
		}
	}
	return errors.New("derived keys do not open the peer's Finished")
}

// snapshot reads pion's state, or for the suite that is not pion's, ours.
func (d *driver) snapshot(conn *pion.Conn) (snapshot, error) {
	secrets, next, ok := d.custom.get()
	if !ok {
		return takeSnapshot(conn)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := snapshot{
		CipherSuiteID: uint16(secrets.Suite), MasterSecret: secrets.Master,
		SequenceNumber: next, IdentityHint: []byte(d.pskIdentity), IsClient: d.client,
		LocalRandom: [32]byte(secrets.ClientRandom), RemoteRandom: [32]byte(secrets.ServerRandom),
		LocalConnectionID: d.grantedCID,
	}
	if !d.client {
		s.LocalRandom, s.RemoteRandom = s.RemoteRandom, s.LocalRandom
	}
	if cid, ok := d.peerHello().extension(connectionIDExtension); ok && len(cid) > 0 && d.cfg.ConnectionID {
		s.RemoteConnectionID = cid[1:]
	}
	return s, nil
}

func (d *driver) store(snap snapshot, t *taken) {
	session := d.resume.fullSession()
	if session == nil && !d.client && len(t.sessionID) > 0 {
		// pion does not keep the session of a client that authenticated by
		// certificate; we check that certificate at each resumption.
		session = &pion.Session{
			ID: t.sessionID, Secret: bytes.Clone(snap.MasterSecret), Version: 1,
			CipherSuiteID: pion.CipherSuiteID(snap.CipherSuiteID), ExtendedMasterSecret: true,
			PeerCertificates: snap.PeerCertificates,
		}
	}
	if session == nil || len(session.ID) == 0 {
		return
	}
	s := *session
	s.Secret = bytes.Clone(s.Secret)
	d.resume.keep(stored{session: s, heartbeat: t.heartbeat, made: d.binding(t.suite)}, time.Now())
}

func (d *driver) peerHello() hello {
	d.sh.mu.Lock()
	defer d.sh.mu.Unlock()
	return d.sh.sniff.hello
}

// peerMode is the heartbeat mode the peer's hello announced, 0 without.
func (d *driver) peerMode() heartbeat.Mode {
	if d.cfg.Heartbeat.mode() == 0 {
		return 0
	}
	if v, ok := d.peerHello().extension(heartbeat.ExtensionType); ok && len(v) == 1 {
		return heartbeat.Mode(v[0])
	}
	return 0
}

// verifyConnection is pion's last question before a handshake completes, full
// or resumed.
func (d *driver) verifyConnection(s *pion.State) error {
	now := time.Now()
	if v, ok := d.peerHello().extension(heartbeat.ExtensionType); ok && d.cfg.Heartbeat.mode() != 0 {
		// Another mode is answered by illegal_parameter (RFC 6520, Section 2).
		if len(v) != 1 || !heartbeat.Mode(v[0]).Valid() {
			return d.refuse(errHeartbeatMode)
		}
	}
	suite := record.Suite(s.CipherSuiteID)
	if suite.PSK() {
		identity := string(s.IdentityHint)
		if d.client {
			identity = d.cfg.PSKIdentity
		} else if err := d.creds.AllowPSK(identity); err != nil {
			return d.refuse(&refusal{err: err, alert: alertAccessDenied})
		}
		d.setIdentity(identity, nil)
		return nil
	}
	identity, err := d.checkChain(s.PeerCertificates, now)
	if err != nil {
		return d.refuse(err)
	}
	d.setIdentity(identity, s.PeerCertificates)
	return nil
}

func (d *driver) setIdentity(identity string, chain [][]byte) {
	d.mu.Lock()
	d.identity, d.chain = identity, chain
	d.mu.Unlock()
}

// refuse keeps the first refusal and lets pion's alert carry its code.
func (d *driver) refuse(err error) error {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = refuse(err)
	}
	d.mu.Lock()
	if d.refusal == nil {
		d.refusal = r
	}
	d.mu.Unlock()
	d.sh.mu.Lock()
	d.sh.alertCode = r.alert
	d.sh.mu.Unlock()
	return err
}

// reason is why a handshake failed: our refusal, what ended the context, or
// what pion says.
func (d *driver) reason(ctx context.Context, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusal != nil {
		return d.refusal
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, errTimeout) && d.client && d.cfg.PSKIdentity != "" && d.peerHello().random != nil {
			return fmt.Errorf("%w: no answer to our Finished (wrong pre-shared key?)", cause)
		}
		return cause
	}
	var hs *pion.HandshakeError
	if errors.As(err, &hs) {
		err = hs.Err
	}
	return &garbledError{err}
}
