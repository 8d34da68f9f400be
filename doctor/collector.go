package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"ipfixsuite/endpoint"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
)

const (
	// DefaultTimeout bounds each step that waits for a collector.
	DefaultTimeout = 5 * time.Second
	// probes is how many signs of life are asked for: six that are padded have to
	// be lost until a path is said to drop large packets (package heartbeat).
	probes = 8
	// icmpWait is how long the word that a UDP port is closed may take.
	icmpWait = 300 * time.Millisecond
)

// Target is a collector to look at, with the settings of an exporter.
type Target struct {
	Endpoint transport.Endpoint
	Config   endpoint.Config
	// Timeout bounds each step; 0: DefaultTimeout.
	Timeout time.Duration
	// NoCredentials says that those of Config are of no use: what needs them
	// is not tried.
	NoCredentials bool
}

// Check looks at a collector as an exporter sees it: its name, the way there,
// what this host must have, and a session to each address.
func (t Target) Check(ctx context.Context, s *Section) {
	t.Timeout = cmp.Or(t.Timeout, DefaultTimeout)
	e := t.Endpoint
	if !e.Secure() || !t.NoCredentials {
		if _, err := endpoint.Dialer(e, t.Config); err != nil {
			s.Fail("endpoint", transport.Hint(err), "%v", err)
			return
		}
	}
	rctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	addrs := resolve(rctx, s, e, Lookup(t.Config.Lookup))
	addrs, first := routes(s, addrs)
	if len(addrs) == 0 {
		return
	}
	before := s.Well
	pending := stack(s, e, addrs[0].Addr(), first.iface)
	switch {
	case before && !s.Well:
		return // no session can be made
	case e.Secure() && t.NoCredentials:
		s.Fail("session", "", "not tried: the credentials are of no use")
		return
	}
	t.sessions(ctx, s, addrs)
	switch {
	case pending == nil:
	case s.Well:
		s.OK(pending.Step, "this kernel has DCCP too, and leaves our connections alone")
	default:
		s.Add(*pending)
	}
}

// sessions opens one to each address. One that cannot be had is a failure only
// where no other can: an exporter takes the one that answers.
func (t Target) sessions(ctx context.Context, s *Section, addrs []netip.AddrPort) {
	trials := make([]*Section, len(addrs))
	one := false
	for i, a := range addrs {
		trials[i] = &Section{Well: true}
		if len(addrs) == 1 {
			trials[i].told = s.Add // nothing has to wait
		}
		t.session(ctx, trials[i], a)
		one = one || trials[i].Well
	}
	if len(addrs) == 1 {
		return
	}
	for _, trial := range trials {
		for _, f := range trial.Findings {
			if f.Status == Fail && one {
				f.Status, f.Saw = Warn, f.Saw+" (another address answers)"
			}
			s.Add(f)
		}
	}
}

// session opens a session to one address, looks at it and closes it, and then
// sees whether it can be resumed.
func (t Target) session(ctx context.Context, s *Section, to netip.AddrPort) {
	cfg := t.Config
	cfg.Lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{to.Addr()}, nil }
	dialer, err := endpoint.Dialer(t.Endpoint, cfg)
	if err != nil {
		s.Fail("session", transport.Hint(err), "%v", err)
		return
	}
	open, took, err := t.dial(ctx, dialer)
	if err != nil {
		t.refused(ctx, s, to, err)
		return
	}
	if t.Endpoint.Scheme == "udp" {
		t.datagram(ctx, s, open, to)
	} else {
		s.OK("session", "with %v opened in %v%s; the collector is %s", to, took, protection(open), open.Peer().Identity)
		if strings.HasPrefix(t.Endpoint.Scheme, "mta+") && open.Properties().Confirms != transport.ConfirmProcess {
			s.Warn("channels", "mta+tls+tcp in its --listen gives each stream a channel, and confirms what was written", "the collector has no MTA-TLS: plain TLS it is")
		}
		t.alive(ctx, s, open)
	}
	t.close(ctx, s, open)
	if t.Endpoint.Secure() && s.Well {
		t.again(ctx, s, dialer)
	}
}

func (t Target) dial(ctx context.Context, d transport.Dialer) (transport.Session, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	began := time.Now()
	s, err := d.Dial(ctx)
	return s, round(time.Since(began)), err
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// protection words what protects a session.
func protection(s transport.Session) string {
	p, ok := s.(transport.Secured)
	if !ok || p.Security() == (transport.Security{}) {
		return ", in the clear"
	}
	sec := p.Security()
	text := " by " + sec.Version + ", " + sec.Suite
	if sec.Protocol != "" {
		text += ", " + sec.Protocol
	}
	return text
}

// refused tells why there is no session.
func (t Target) refused(ctx context.Context, s *Section, to netip.AddrPort, err error) {
	why := strings.TrimPrefix(err.Error(), t.Endpoint.String()+": ")
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		why = fmt.Sprintf("no answer within %v (%s)", t.Timeout, why)
		if port := endpoint.UDPPort(t.Endpoint); port != 0 && closed(netip.AddrPortFrom(to.Addr(), port)) {
			s.Fail("session", hintNobody, "with %v: nobody listens: the host answers that UDP port %d is closed", to, port)
			return
		}
	}
	h := explain(err, t.Endpoint)
	if h == hintSilent && endpoint.KernelDCCP(t.Endpoint, to.Addr()) {
		h = "does a filter here let only marked packets leave? it silences the kernel's DCCP too: take it away, or use stack=raw; else: " + h
	}
	if h == carrier.AdviceKernel("IFACE", carrier.DefaultMark) {
		h = "nobody listens there, or this host's own kernel reset it: see DCCP below"
	}
	s.Fail("session", h, "with %v: %s", to, why)
}

// closed asks by an empty datagram whether a UDP port is closed: its host says
// so, unless a filter swallows that.
func closed(to netip.AddrPort) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(icmpWait))
	if _, err := c.Write(nil); err == nil {
		_, err = c.Read(make([]byte, 1))
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// alive asks for signs of life, and tells what messages the path takes.
func (t Target) alive(ctx context.Context, s *Section, open transport.Session) {
	most := open.MaxMessage()
	var err error
	var least time.Duration
	for range probes {
		began := time.Now()
		pctx, cancel := context.WithTimeout(ctx, t.Timeout)
		err = open.Probe(pctx)
		cancel()
		if err != nil {
			break
		}
		if took := time.Since(began); least == 0 || took < least {
			least = took
		}
	}
	confirms := open.Properties().Confirms
	switch {
	case err == nil && !strings.HasPrefix(t.Endpoint.Scheme, "dtls+"):
		// Nothing was sent that an acknowledgement could follow.
		s.OK("heartbeat", "%s", map[bool]string{
			true:  "the transport's own; credit comes for what the collector has taken (this suite's: written by its sinks): a durability barrier",
			false: "the transport's own; it proves that the host lives, not that records are written: --retain",
		}[confirms == transport.ConfirmProcess])
	case err == nil && confirms == transport.ConfirmProcess:
		s.OK("heartbeat", "answered in %v; an answer is a durability barrier: it comes when everything before it was taken (by this suite's collector: written by its sinks)", round(least))
	case err == nil:
		s.OK("heartbeat", "answered in %v", round(least))
	case !errors.Is(err, transport.ErrNoProbe):
		s.Fail("heartbeat", "the session stands, but is not served: does the collector hang, is a disk of its sinks full? see `sink fails` in its log", "agreed on and not answered within %v: %v", t.Timeout, err)
	case confirms == transport.ConfirmTransport:
		s.OK("heartbeat", "there is none here; the collector's host acknowledges messages, which does not prove that they are written: --retain")
	case t.Endpoint.Secure():
		s.Warn("heartbeat", "with a collector that answers (RFC 6520) its death is known within --dead-after, and what is written is confirmed",
			"the collector offers none: new handshakes have to show whether it lives, and --retain is sent again after a loss")
	default:
		s.Warn("heartbeat", "use a secure scheme", "there is none here, and nothing confirms records: --retain is sent again after a loss")
	}
	if now := open.MaxMessage(); now < most {
		s.Warn("message size", "a link in between drops large packets without a word: --mtu, or mend its MTU or its ICMP", "%d octets were promised, and %d go through", most, now)
	} else {
		s.OK("message size", "%d octets at most", now)
	}
}

// emptyMessage is an IPFIX Message without Sets (RFC 7011, Section 2): it holds
// no record and costs no sequence number.
func emptyMessage(now time.Time) []byte {
	secs := uint32(now.Unix())
	return []byte{0, 10, 0, 16, byte(secs >> 24), byte(secs >> 16), byte(secs >> 8), byte(secs), 0, 0, 0, 0, 0, 0, 0, 0}
}

// datagram sees whether a UDP port is closed. That it is open nobody tells.
func (t Target) datagram(ctx context.Context, s *Section, open transport.Session, to netip.AddrPort) {
	s.OK("message size", "%d octets at most", open.MaxMessage())
	refused := false
	for range 2 { // the second learns what became of the first
		_, err := open.Send(ctx, []transport.Outgoing{{Data: emptyMessage(time.Now())}})
		refused = refused || errors.Is(err, syscall.ECONNREFUSED)
		select {
		case <-time.After(icmpWait):
		case <-ctx.Done():
		}
	}
	if refused || open.Stats().UnreachableHints > 0 {
		s.Fail("port", hintNobody, "%v: nobody listens: the host answers that the port is closed", to)
		return
	}
	s.Warn("port", "use dtls+udp://, which knows", "plain UDP: no word that %v is closed, and never one that it is served; an IPFIX Message without records was sent", to)
}

func (t Target) close(ctx context.Context, s *Section, open transport.Session) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	if err := open.Close(ctx); err != nil {
		s.Warn("close", "", "not in order: %v", err)
		return
	}
	s.OK("close", "in order")
}

// again opens the session that a rotation would.
func (t Target) again(ctx context.Context, s *Section, d transport.Dialer) {
	open, took, err := t.dial(ctx, d)
	if err != nil {
		s.Fail("second session", explain(err, t.Endpoint), "%v", err)
		return
	}
	switch {
	case open.Peer().Resumed:
		s.OK("second session", "resumed, in %v", took)
	case strings.HasPrefix(t.Endpoint.Scheme, "dtls+sctp"):
		s.OK("second session", "by a full handshake, as always over SCTP, in %v", took)
	default:
		s.Warn("second session", "each --rotate costs a full handshake: does the collector keep sessions, is there one of it behind this address?", "not resumed: a full handshake, in %v", took)
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	// In an abbreviated handshake the client speaks last: an answer shows that
	// the collector has the session, too. The first one's end was looked at.
	_ = open.Probe(ctx)
	_ = open.Close(ctx)
}
