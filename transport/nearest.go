package transport

import (
	"slices"
	"strings"
)

// Schemes lists every scheme that ParseEndpoint knows.
func Schemes() []string { return slices.Clone(schemes[:]) }

func knownScheme(s string) bool { return slices.Contains(schemes[:], s) }

// noSchemeHint guesses what was meant by an endpoint without "://".
func noSchemeHint(s string) string {
	for _, scheme := range schemes {
		// udp:host, udp:/host, udp//host
		if after, ok := strings.CutPrefix(strings.ToLower(s), scheme); ok && after != "" && (after[0] == ':' || after[0] == '/') {
			if host := strings.TrimLeft(after, ":/"); len(host) <= 64 {
				return "did you mean " + scheme + "://" + host + "?"
			}
		}
	}
	if len(s) > 64 {
		s = "HOST:PORT"
	}
	return "did you mean dtls+udp://" + s + "?"
}

// schemeHint suggests the nearest scheme, or lists them all.
func schemeHint(s, rest string) string {
	if near := nearestScheme(s); near != "" {
		if len(rest) > 64 {
			rest = "…"
		}
		return "did you mean " + near + "://" + rest + "?"
	}
	return "known are " + strings.Join(schemes[:], ", ")
}

// nearestScheme knows what people write for a scheme, then goes by edit
// distance: at most a third of what was written may be wrong.
func nearestScheme(s string) string {
	switch s {
	case "dtls", "ipfixs", "dtls+ipfix", "dtls/udp", "udps", "udp+dtls":
		return "dtls+udp"
	case "tls", "ssl", "tcps", "tcp+tls":
		return "tls+tcp"
	case "mta", "mta+tls", "mta-tls":
		return "mta+tls+tcp"
	case "ipfix", "netflow", "udp4", "udp6":
		return "udp"
	case "tcp4", "tcp6":
		return "tcp"
	case "sctps", "sctp+dtls":
		return "dtls+sctp"
	case "dccps", "dccp+dtls":
		return "dtls+dccp"
	}
	best, bestDistance := "", max(1, len(s)/3)+1
	for _, known := range schemes {
		if d := editDistance(s, known, bestDistance); d < bestDistance {
			best, bestDistance = known, d
		}
	}
	return best
}

// editDistance counts insertions, deletions and replacements; it gives up
// with limit when the lengths alone say that there are as many.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
