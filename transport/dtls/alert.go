package dtls

import (
	"fmt"

	"ipfixsuite/transport"
)

// Alert levels and the descriptions used here (RFC 5246, Section 7.2; RFC 4279).
const (
	alertWarning = 1
	alertFatal   = 2

	alertCloseNotify        = 0
	alertHandshakeFailure   = 40
	alertBadCertificate     = 42
	alertCertificateExpired = 45
	alertCertificateUnknown = 46
	alertIllegalParameter   = 47
	alertUnknownCA          = 48
	alertAccessDenied       = 49
	alertDecryptError       = 51
	alertInternalError      = 80
	alertUnknownPSKIdentity = 115
)

// AlertError is what the peer said when it ended a handshake or a session.
type AlertError struct {
	Code uint8 // AlertDescription, RFC 5246, Section 7.2
}

func (e *AlertError) Error() string { return "peer sent alert: " + alertName(e.Code) }

// Hint is what an exporter can do about it; empty: nothing is known.
func (e *AlertError) Hint() string { return transport.AlertHint(e.Code) }

func alertName(code uint8) string {
	switch code {
	case alertCloseNotify:
		return "close notify"
	case 10:
		return "unexpected message"
	case 20:
		return "bad record mac"
	case alertHandshakeFailure:
		return "handshake failure"
	case 41, 116:
		return "certificate required"
	case alertBadCertificate:
		return "bad certificate"
	case 43:
		return "unsupported certificate"
	case 44:
		return "certificate revoked"
	case alertCertificateExpired:
		return "certificate expired"
	case alertCertificateUnknown:
		return "certificate not acceptable"
	case alertIllegalParameter:
		return "illegal parameter"
	case alertUnknownCA:
		return "unknown certificate authority"
	case alertAccessDenied:
		return "access denied"
	case 50:
		return "decode error"
	case alertDecryptError:
		return "decrypt error"
	case 70:
		return "protocol version"
	case 71:
		return "insufficient security"
	case alertInternalError:
		return "internal error"
	case 90:
		return "user canceled"
	case 112:
		return "unrecognized name"
	case alertUnknownPSKIdentity:
		return "unknown psk identity"
	}
	return fmt.Sprintf("alert %d", code)
}
