package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// appendValue appends the octets, as they stand in a record, of the text that
// RFC 7373 has for a value of el; element nil is an unknown one. tok says what
// the text is in JSON.
func appendValue(dst []byte, el *ie.Element, text []byte, tok token) ([]byte, error) {
	t := ie.OctetArray
	if el != nil {
		t = el.Type
	}
	if tok != tokenString {
		switch {
		case tok == tokenNumber && (t.Unsigned() || t.Signed() || t.Float() || t == ie.DateTimeSeconds || t == ie.DateTimeMilliseconds):
		case (tok == tokenTrue || tok == tokenFalse) && t == ie.Boolean:
		default:
			return dst, fmt.Errorf("%v where %s is expected", tok, expected(t))
		}
	}
	var err error
	switch {
	case t == ie.Unsigned256:
		return appendUint256(dst, text)
	case t.Unsigned():
		var v uint64
		if v, err = parseUint(text); err == nil {
			return appendSized(dst, clipUint(v, el), t.Size()), nil
		}
	case t.Signed():
		var v int64
		if v, err = parseInt(text); err == nil {
			bits := 8*uint(t.Size()) - 1
			v = min(max(v, -1<<bits), 1<<bits-1)
			return appendSized(dst, uint64(v), t.Size()), nil
		}
	case t.Float():
		return appendFloat(dst, t, text)
	}
	if err != nil {
		return dst, err
	}
	switch t {
	case ie.Boolean:
		switch string(text) {
		case "true":
			return append(dst, 1), nil
		case "false":
			return append(dst, 2), nil
		}
		// What is neither stands as the encoder wrote it: one octet.
		if x, err := appendOctets(nil, text); err == nil && len(x) == 1 && strings.HasPrefix(string(text), "0x") {
			return append(dst, x[0]), nil
		}
	case ie.String:
		return appendVariable(dst, text)
	case ie.OctetArray:
		x, err := appendOctets(nil, text)
		if err != nil {
			return dst, err
		}
		return appendVariable(dst, x)
	case ie.MACAddress:
		if x, ok := parseMAC(text); ok {
			return append(dst, x[:]...), nil
		}
	case ie.IPv4Address:
		if a, err := netip.ParseAddr(string(text)); err == nil && a.Is4() {
			return append(dst, a.AsSlice()...), nil
		}
	case ie.IPv6Address:
		if a, err := netip.ParseAddr(string(text)); err == nil && a.Is6() && a.Zone() == "" {
			return append(dst, a.AsSlice()...), nil
		}
	case ie.DateTimeSeconds, ie.DateTimeMilliseconds, ie.DateTimeMicroseconds, ie.DateTimeNanoseconds:
		v, err := parseTime(t, text)
		if err != nil {
			return dst, err
		}
		return appendSized(dst, v, t.Size()), nil
	}
	return dst, fmt.Errorf("%q is not %s", clip(text), expected(t))
}

// expected is the form of a type's text, for errors.
func expected(t ie.DataType) string {
	switch {
	case t == ie.Unsigned256:
		return `a number, or hexadecimal digits as in "0x1f"`
	case t.Unsigned(), t.Signed():
		return "a number"
	case t.Float():
		return `a number, "NaN", "+inf" or "-inf"`
	}
	switch t {
	case ie.Boolean:
		return "true or false"
	case ie.String:
		return "a string"
	case ie.MACAddress:
		return `a MAC address as in "00:00:5e:00:53:01"`
	case ie.IPv4Address:
		return `an IPv4 address as in "192.0.2.1"`
	case ie.IPv6Address:
		return `an IPv6 address as in "2001:db8::1"`
	case ie.DateTimeSeconds:
		return `a time as in "2026-09-21T14:13:20"`
	case ie.DateTimeMilliseconds, ie.DateTimeMicroseconds, ie.DateTimeNanoseconds:
		return `a time as in "2026-09-21T14:13:20.250"`
	case ie.BasicList, ie.SubTemplateList, ie.SubTemplateMultiList:
		return "an object with @semantic and the values"
	}
	return `hexadecimal digits as in "0x00ff"`
}

func clip(text []byte) string {
	if len(text) > 64 {
		return strings.ToValidUTF8(string(text[:64]), "") + "…"
	}
	return string(text)
}

func appendSized(dst []byte, v uint64, size uint16) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return append(dst, b[8-size:]...)
}

// appendVariable appends octets with their length in front.
func appendVariable(dst, x []byte) ([]byte, error) {
	if len(x) > maxRecord {
		return dst, fmt.Errorf("%d octets fit in no message", len(x))
	}
	return ipfix.AppendVariable(dst, x), nil
}

var errNumber = errors.New("not a whole number")

// parseUint reads digits, 0x… or 0b… (RFC 7373, Section 4.2). Too large or
// negative numbers are clipped, as it says there.
func parseUint(text []byte) (uint64, error) {
	s := string(text)
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"):
		s, base = s[2:], 16
	case strings.HasPrefix(s, "0b"):
		s, base = s[2:], 2
	case len(s) > 1 && s[0] == '-':
		if _, err := strconv.ParseUint(s[1:], 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
			return 0, nil
		}
	}
	v, err := strconv.ParseUint(s, base, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q: %w", clip(text), errNumber)
	}
	return v, nil
}

// clipUint holds v within the type's range, and the element's own if it has
// one (RFC 7373, Section 4.2).
func clipUint(v uint64, el *ie.Element) uint64 {
	if n := el.Type.Size(); n < 8 {
		v = min(v, 1<<(8*n)-1)
	}
	if el.Min != 0 || el.Max != 0 {
		v = max(el.Min, min(v, el.Max))
	}
	return v
}

// parseInt reads digits with a sign or without (RFC 7373, Section 4.3).
func parseInt(text []byte) (int64, error) {
	v, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q: %w", clip(text), errNumber)
	}
	return v, nil
}

// appendFloat reads a number or one of the three words (RFC 7373, Section
// 4.4); finite values are clamped to the type.
func appendFloat(dst []byte, t ie.DataType, text []byte) ([]byte, error) {
	var f float64
	switch string(text) {
	case "NaN":
		f = math.NaN()
	case "+inf":
		f = math.Inf(1)
	case "-inf":
		f = math.Inf(-1)
	default:
		for _, c := range text {
			if c > '9' && c|0x20 != 'e' {
				return dst, fmt.Errorf("%q is not %s", clip(text), expected(t))
			}
		}
		bits := 8 * int(t.Size())
		v, err := strconv.ParseFloat(string(text), bits)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return dst, fmt.Errorf("%q is not %s", clip(text), expected(t))
		}
		limit := math.MaxFloat64
		if bits == 32 {
			limit = math.MaxFloat32
		}
		f = min(max(v, -limit), limit)
	}
	if t == ie.Float32 {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f)), nil
}

// appendUint256 reads a number of up to 256 bits, as parseUint does.
func appendUint256(dst, text []byte) ([]byte, error) {
	s := string(text)
	base := 10
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		s, base = rest, 16
	} else if rest, ok := strings.CutPrefix(s, "0b"); ok {
		s, base = rest, 2
	}
	var n big.Int
	// Nothing reasonable is longer than the 256 digits of the binary form.
	if len(s) > 256 || s == "" || strings.ContainsAny(s, "+-_") {
		return dst, fmt.Errorf("%q: %w of 256 bits", clip(text), errNumber)
	}
	if _, ok := n.SetString(s, base); !ok {
		return dst, fmt.Errorf("%q: %w", clip(text), errNumber)
	}
	var b [32]byte
	if n.BitLen() > 256 { // clipped, as smaller numbers are
		for i := range b {
			b[i] = 0xFF
		}
		return append(dst, b[:]...), nil
	}
	return append(dst, n.FillBytes(b[:])...), nil
}

// appendOctets reads pairs of hexadecimal digits, with 0x in front or without
// and with blanks between pairs (RFC 7373, Section 4.1).
func appendOctets(dst, text []byte) ([]byte, error) {
	x := text
	if len(x) >= 2 && x[0] == '0' && x[1] == 'x' {
		x = x[2:]
	}
	for len(x) > 0 {
		if x[0] == ' ' || x[0] == '\t' {
			x = x[1:]
			continue
		}
		if len(x) < 2 {
			return dst, fmt.Errorf("%q has half an octet at its end", clip(text))
		}
		hi, ok1 := hexValue(x[0])
		lo, ok2 := hexValue(x[1])
		if !ok1 || !ok2 {
			return dst, fmt.Errorf("%q is not %s", clip(text), expected(ie.OctetArray))
		}
		dst = append(dst, hi<<4|lo)
		x = x[2:]
	}
	return dst, nil
}

func parseMAC(text []byte) (x [6]byte, ok bool) {
	if len(text) != 17 {
		return x, false
	}
	for i := range x {
		hi, ok1 := hexValue(text[3*i])
		lo, ok2 := hexValue(text[3*i+1])
		if !ok1 || !ok2 || i < 5 && text[3*i+2] != ':' {
			return x, false
		}
		x[i] = hi<<4 | lo
	}
	return x, true
}

// parseTime reads a time in UTC (RFC 7373, Section 4.8). A Z, and fewer or
// more digits of the second, are taken as well; for types that count seconds
// or milliseconds also the bare number.
func parseTime(t ie.DataType, text []byte) (uint64, error) {
	wrong := func() (uint64, error) {
		return 0, fmt.Errorf("%q is not %s", clip(text), expected(t))
	}
	s := strings.TrimSuffix(string(text), "Z")
	if t == ie.DateTimeSeconds || t == ie.DateTimeMilliseconds {
		if v, err := strconv.ParseUint(s, 10, 8*int(t.Size())); err == nil {
			return v, nil
		}
	}
	if strings.Contains(s, ",") { // package time would take it for a point
		return wrong()
	}
	// time.Parse knows no leap second; it is the second after here, as in
	// UNIX time (RFC 7011, Section 6.1.7).
	leap := time.Duration(0)
	if len(s) >= 19 && s[17:19] == "60" {
		s, leap = s[:17]+"59"+s[19:], time.Second
	}
	at, err := time.ParseInLocation("2006-01-02T15:04:05.999999999", s, time.UTC)
	if err != nil || len(s) > 29 {
		return wrong()
	}
	at = at.Add(leap)
	first, last := int64(0), int64(math.MaxUint32)
	if t == ie.DateTimeMilliseconds {
		last = lastSecond
	} else if t != ie.DateTimeSeconds { // what the top bit of the seconds tells
		first, last = 1<<31-ntpUnix, 1<<31-ntpUnix+math.MaxUint32
	}
	if at.Unix() < first || at.Unix() > last {
		return 0, fmt.Errorf("%q: %v goes from %d to %d", clip(text), t, time.Unix(first, 0).UTC().Year(), time.Unix(last, 0).UTC().Year())
	}
	return ipfix.TimeNum(t, at), nil
}
