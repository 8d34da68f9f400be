package credentials

import (
	"fmt"
	"net/netip"
	"strings"
)

// Pattern says which names are let in. A name's pattern is compared label by
// label without regard to case: a '*' stands for any characters within one
// label, a first label "**" for one or more labels, and "**" alone for every
// name and address. A pattern that is an
// address or a prefix (10.1.0.0/16) is compared with addresses in
// certificates.
type Pattern struct {
	text   string
	labels []string
	deep   bool // began with "**"
	prefix netip.Prefix
}

// ParsePatterns reads patterns; each string may hold several, parted by
// commas.
func ParsePatterns(texts []string) ([]Pattern, error) {
	var patterns []Pattern
	for _, text := range texts {
		for s := range strings.SplitSeq(text, ",") {
			p, why := parsePattern(strings.TrimSpace(s))
			if why != "" {
				return nil, &Error{Subject: fmt.Sprintf("--allow %q", text), Reason: why,
					hint: "patterns are names with * within a label (*.pop1.example), **.example for all below, ** for all, or prefixes (10.1.0.0/16)"}
			}
			p.text = s
			patterns = append(patterns, p)
		}
	}
	return patterns, nil
}

func parsePattern(s string) (p Pattern, why string) {
	if a, err := netip.ParseAddr(s); err == nil {
		return Pattern{prefix: netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())}, ""
	}
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return p, "no prefix"
		}
		return Pattern{prefix: prefix.Masked()}, ""
	}
	if s == "" || len(s) > 253 {
		return p, "empty or too long"
	}
	p.labels = strings.Split(strings.ToLower(s), ".")
	if p.labels[0] == "**" {
		p.deep, p.labels = true, p.labels[1:]
	}
	for _, label := range p.labels {
		if label == "" {
			return p, "empty label"
		}
		if strings.Contains(label, "**") {
			return p, "** stands only for the whole of the first label"
		}
	}
	return p, ""
}

// Match compares a name or the text of an address.
func (p Pattern) Match(name string) bool {
	if p.deep && len(p.labels) == 0 {
		return true
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return p.prefix.IsValid() && p.prefix.Contains(a.Unmap())
	}
	if p.prefix.IsValid() {
		return false
	}
	labels := strings.Split(strings.ToLower(name), ".")
	if p.deep {
		if len(labels) <= len(p.labels) {
			return false
		}
		labels = labels[len(labels)-len(p.labels):]
	}
	if len(labels) != len(p.labels) {
		return false
	}
	for i := range labels {
		if !matchLabel(p.labels[i], labels[i]) {
			return false
		}
	}
	return true
}

// matchLabel compares greedily from both ends: linear, whatever is sent.
func matchLabel(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok || s == "" && head == "" {
		return false // a label is never empty
	}
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}

// allowed tells whether a name is let in; without patterns all are.
func (c *Credentials) allowed(name string) bool {
	if len(c.allow) == 0 {
		return true
	}
	for _, p := range c.allow {
		if p.Match(name) {
			return true
		}
	}
	return false
}
