//go:build testssl

package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mxbypass/integration/peer"
)

// testssl.sh has nothing to say against us above "low". It takes minutes of processor time: make testssl runs it, and make
// test does not. Versions and ciphers are tested there by relay/certs. What it sees behind STARTTLS is the same, and takes it
// much longer.
func TestTestssl(t *testing.T) {
	dir := t.TempDir()
	ca := tlsFiles(t, dir)
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	r := secured(t, dir, fmt.Sprintf(`[[certificate]]
cert = %[1]q
key = %[2]q
[[certificate]]
cert = %[3]q
key = %[4]q
[[listener]]
address = "127.0.0.1:%[5]d"
tls = "implicit"
`, dir+"/ecdsa.pem", dir+"/ecdsa.key", dir+"/rsa.pem", dir+"/rsa.key", port))
	report := filepath.Join(dir, "report.json")
	args := []string{
		"--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--ip", "127.0.0.1", "--add-ca", ca,
		"--jsonfile", report, fmt.Sprintf("localhost:%d", port),
	}
	cmd := exec.Command("/usr/bin/testssl", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run() // its code is the number of findings, more or less
	t.Logf("%s", out.Bytes())
	var findings []struct{ ID, Severity, Finding string }
	text, readErr := os.ReadFile(report)
	if err := errors.Join(readErr, json.Unmarshal(text, &findings)); err != nil || len(findings) < 100 {
		t.Fatalf("%d findings, %v\n%s", len(findings), err, out.Bytes())
	}
	for _, f := range findings {
		switch f.Severity {
		case "OK", "INFO", "WARN", "DEBUG": // the last two are about testssl.sh itself
		case "LOW":
			t.Logf("low: %s: %s", f.ID, f.Finding)
		default:
			t.Errorf("%s: %s: %s (%v)", f.Severity, f.ID, f.Finding, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// tlsFiles makes an authority, and a certificate of each kind that it has signed, which names where it could be revoked,
// as real ones do.
func tlsFiles(t *testing.T, dir string) (ca string) {
	t.Helper()
	script := `set -e; cd "$0"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Test CA" -days 90 -keyout ca.key -out ca.pem \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
printf '%s\n' 'subjectAltName=DNS:localhost,DNS:mx.host.test' 'extendedKeyUsage=serverAuth' 'keyUsage=digitalSignature' \
	'crlDistributionPoints=URI:http://127.0.0.1:1/crl' >extensions
for kind in ecdsa rsa; do
	case $kind in
	ecdsa) new="ec -pkeyopt ec_paramgen_curve:P-256" ;;
	rsa) new=rsa:2048 ;;
	esac
	openssl req -newkey $new -nodes -subj "/CN=localhost" -keyout $kind.key -out $kind.csr
	openssl x509 -req -in $kind.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 80 -extfile extensions -out $kind.pem
	chmod 600 $kind.key
done`
	if out, err := exec.Command("/bin/sh", "-c", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "ca.pem")
}
