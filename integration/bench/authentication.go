package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mxbypass/integration/peer"
)

// trustMeasures are what is measured of judging mail, and of TLS.
var trustMeasures = []struct {
	name string
	run  func(options, *disk, *table) error
}{
	{"authentication", measureAuthentication},
	{"TLS handshakes", measureHandshakes},
	{"idle memory TLS", measureIdleTLS},
}

// senders is how many domains send, each with its own key, SPF record and policy.
const senders = 10

// measureAuthentication puts signed mail on both servers, which judge it by SPF, DKIM and DMARC: ours by itself, Postfix
// by OpenDKIM and OpenDMARC. Both ask the same nsd, and both have to find that all is well.
func measureAuthentication(o options, disk *disk, t *table) (err error) {
	dir := filepath.Join(o.dir, "authentication")
	zones := filepath.Join(dir, "zones")
	if err := os.MkdirAll(zones, 0o755); err != nil {
		return err
	}
	letters, err := writeLetters(dir, zones)
	if err != nil {
		return err
	}
	dns, err := peer.StartNSDAt(dir, zones, remoteAddr, 53)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dns.Close()) }()
	for i, keep := range []bool{true, false} {
		c := cases(o.scale)[i]
		c.name = strings.Replace("SPF, DKIM, DMARC, "+c.name, ", 50 mailboxes", "", 1)
		c.keep, c.letters, c.target, c.check = keep, letters, "4x", wellFound
		if err := measureCase(c, startRelayJudging, startPostfixJudging, o, disk, t); err != nil {
			return err
		}
	}
	return nil
}

// writeLetters writes a signed message of about 10 KiB for each sender, and the zones in which everything about them is.
func writeLetters(dir, zones string) (all []letter, err error) {
	const start = "$TTL 3600\n@ IN SOA ns.test. hostmaster.test. 1 3600 3600 3600 3600\n@ IN NS ns.test.\n"
	zone := func(name, records string) error {
		return os.WriteFile(filepath.Join(zones, name+".zone"), []byte(start+records), 0o644)
	}
	reverse, err := peer.PTR(remoteAddr, "mail.sender0.example")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(zone("2.0.192.in-addr.arpa", reverse+"\n"), zone(hosted, "@ IN MX 10 mx.host.test.\n"),
		zone("host.test", "mx IN A "+remoteAddr+"\n")); err != nil {
		return nil, err
	}
	dkimpy, err := peer.StartDKIMPy()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dkimpy.Close()) }()
	body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 128)
	for i := range senders {
		domain := fmt.Sprintf("sender%d.example", i)
		key, err := peer.NewSigningKey(domain, "s1", "rsa-sha256")
		if err != nil {
			return nil, err
		}
		records := key.Record + "\n" + peer.TXT(domain, "v=spf1 mx ip4:"+remoteAddr+" -all") + "\n" +
			peer.TXT("_dmarc."+domain, "v=DMARC1; p=reject; adkim=s") + "\n@ IN MX 10 mail\nmail IN A 192.0.2.9\n"
		if i == 0 {
			records = strings.Replace(records, "mail IN A 192.0.2.9", "mail IN A "+remoteAddr, 1)
		}
		if err := zone(domain, records); err != nil {
			return nil, err
		}
		signed, err := dkimpy.Sign(key, fmt.Sprintf("From: Sender <sender@%s>\r\nTo: someone@%s\r\nSubject: load\r\n"+
			"Date: %s\r\nMessage-ID: <%d@%[1]s>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n%s",
			domain, hosted, time.Now().Format(time.RFC1123Z), i, body))
		if err != nil {
			return nil, err
		}
		l := letter{filepath.Join(dir, domain), "sender@" + domain}
		if err := os.WriteFile(l.file, []byte(strings.ReplaceAll(signed, "\r\n", "\n")), 0o644); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// wellFound wants one of the delivered messages to say that everything was judged: who judges less is faster.
func wellFound(folder string) error {
	var files []string
	for _, pattern := range []string{"*/Maildir/new/*", "*/*/Maildir/new/*"} {
		some, _ := filepath.Glob(filepath.Join(folder, pattern))
		files = append(files, some...)
	}
	if len(files) == 0 {
		return errors.New("nothing was delivered")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	head, _, _ := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n\n")
	for _, found := range []string{"dkim=pass", "spf=pass", "dmarc=pass"} {
		if !strings.Contains(head, found) {
			return fmt.Errorf("not all was judged: no %s in\n%s", found, head)
		}
	}
	return nil
}

func startRelayJudging(dir string) (server, error) {
	return startRelayAt(remoteAddr, dir, "[dns]\nservers = [\""+remoteAddr+"\"]\n")
}

// The clients of the load are trusted, or Postfix would not take the percent hack from them; the milters do not know that.
const postfixJudging = `smtpd_milters = %s
milter_default_action = tempfail
mynetworks = 127.0.0.0/8, ` + remoteAddr + `/32
`

func startPostfixJudging(dir string) (server, error) {
	v, err := peer.StartVerifiers(dir, gateway)
	if err != nil {
		return nil, err
	}
	port, err := peer.FreePort()
	if err != nil {
		return nil, err
	}
	listens := fmt.Sprintf("%s:%d", remoteAddr, port)
	s, err := startPostfixFor(dir, fmt.Sprintf(postfixJudging, v.Milters), listens+" inet n - n - - smtpd\n")
	if err != nil {
		v.Close()
		return nil, err
	}
	p := s.(postfixServer)
	p.listens, p.verifies = listens, v
	return p, nil
}
