package lookup

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// presentation writes a name as DNS prints it (RFC 1035 section 5.1): a dot parts labels, any other octet stands for
// itself. Not every name can be asked for: labels have 1 to 63 octets, a name at most 253.
func presentation(name string) (string, bool) {
	if name == "" || len(name) > 253 {
		return "", false
	}
	odd := false
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
		odd = odd || strings.ContainsFunc(label, isOdd)
	}
	if !odd {
		return name, true
	}
	// As the library itself would print it: answers are compared with it.
	wire := make([]byte, 0, len(name)+2)
	for label := range strings.SplitSeq(name, ".") {
		wire = append(append(wire, byte(len(label))), label...)
	}
	printed, _, err := dns.UnpackDomainName(append(wire, 0), 0)
	return strings.TrimSuffix(printed, "."), err == nil
}

func isOdd(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

// ReverseName is where the names of an address are (RFC 1035 section 3.5, RFC 3596 section 2.5), without the zone at its
// end: "1.2.0.192" for 192.0.2.1, nibbles for IPv6. DNS lists ask for it with a zone of their own.
func ReverseName(a netip.Addr) string {
	a = a.Unmap()
	var b strings.Builder
	octets := a.AsSlice()
	for i := len(octets) - 1; i >= 0; i-- {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if a.Is4() {
			b.WriteString(strconv.Itoa(int(octets[i])))
		} else {
			fmt.Fprintf(&b, "%x.%x", octets[i]&15, octets[i]>>4)
		}
	}
	return b.String()
}
