package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mxbypass/routing/mx/zoneserver"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"mxbypass": main}) }

// The scripts of testdata/script, with these commands beside those of testscript:
//
//	port VAR            sets VAR to a TCP port of 127.0.0.1 that nobody listens on
//	expand FILE…        replaces $VAR in files
//	dns VAR FOLDER      serves the zones of the folder, and sets VAR to the server's address
//	smtp ADDRESS FILE   holds a dialogue: "C: " lines are sent, "S: " lines are regular expressions for what comes back,
//	                    "!: " lines are run by the shell in between
//	appears RE FILE     waits until the file matches
//	queue FILE          makes a queue with some mail in it; see there
//	sql FILE STATEMENT  changes an SQLite database
//	certificate PEM KEY NAME…  makes a certificate for the names, signed by itself
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each command ends with a second of sleep, under -race
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"port": scriptPort, "expand": scriptExpand, "dns": scriptDNS, "smtp": scriptSMTP, "appears": scriptAppears,
			"queue": scriptQueue, "sql": scriptSQL, "certificate": scriptCertificate,
		},
	})
}

// scriptPatience is how long a script waits for something before it fails.
const scriptPatience = 20 * time.Second

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// scriptPort gives a port that nobody listens on. It is below those that the kernel takes for outgoing connections, and a
// name that stands for it as long as the script runs keeps it from the other tests of the machine (as peer.FreePort does).
func scriptPort(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "port VAR")
	for range 1000 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		lease, err := net.Listen("unix", "@mxbypass-test-port-"+port)
		if err != nil {
			continue
		}
		ts.Defer(func() { _ = lease.Close() })
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ts.Check(l.Close())
			ts.Setenv(args[0], port)
			return
		}
	}
	ts.Fatalf("no free port found")
}

func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "expand FILE…")
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

func scriptDNS(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "dns VAR FOLDER")
	s, err := zoneserver.Serve(context.Background(), "127.0.0.1:0", os.DirFS(ts.MkAbs(args[1])))
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	ts.Setenv(args[0], s.Addr())
}

func scriptSMTP(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "smtp ADDRESS FILE")
	var raw net.Conn
	deadline := time.Now().Add(scriptPatience)
	for {
		var err error
		if raw, err = net.Dial("tcp", args[0]); err == nil {
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	defer raw.Close()
	ts.Check(raw.SetDeadline(deadline))
	conn := textproto.NewConn(raw)
	lines := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[1])))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "C:"):
			ts.Check(conn.PrintfLine("%s", strings.TrimPrefix(line[2:], " ")))
		case strings.HasPrefix(line, "!: "):
			ts.Check(ts.Exec("sh", "-c", line[3:]))
		case strings.HasPrefix(line, "S: "):
			got, err := conn.ReadLine()
			ts.Check(err)
			if !regexp.MustCompile("^(?:" + line[3:] + ")$").MatchString(got) {
				ts.Fatalf("%s:%d: want %s\ngot %s", args[1], n, line[3:], got)
			}
		default:
			ts.Fatalf("%s:%d: neither C nor S: %s", args[1], n, line)
		}
	}
}

func scriptAppears(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "appears RE FILE")
	wanted, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(scriptPatience)
	for {
		text, _ := os.ReadFile(ts.MkAbs(args[1])) // which may not be there yet
		if wanted.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not appear in %s:\n%s", args[0], args[1], text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
