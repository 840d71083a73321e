package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx/zoneserver"
)

// demoAddress is whom the demo writes to: a domain whose MX records point to Google Workspace.
const demoAddress = "foobar%exemple.org@mx.host.test"

type demoFlags struct{ listen, dir string }

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a relay with its own DNS zone and mailboxes, and show how a bypass message goes",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), f) },
	}
	c.Flags().StringVar(&f.listen, "listen", configs.DemoListen, "`address` to listen on")
	c.Flags().StringVar(&f.dir, "dir", "", "`folder` for configuration and mail (default: a new one)")
	return c
}

func (a *app) demo(ctx context.Context, f demoFlags) (err error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	if err := canListen(ctx, f.listen); err != nil {
		return err
	}
	dir, fresh, err := demoDir(f.dir)
	if err != nil {
		return exit(exitCantCreate, err)
	}
	served := false
	defer func() {
		if fresh && !served { // there is nothing in it that anybody has seen
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	zones, err := fs.Sub(configs.Demo, "demo/zones")
	if err != nil {
		return exit(exitSoftware, err)
	}
	dns, err := zoneserver.Serve(ctx, "127.0.0.1:0", zones)
	if err != nil {
		return exit(exitUnavailable, err)
	}
	defer func() { err = errors.Join(err, dns.Close()) }()
	if err := writeDemo(dir, f.listen, dns.Addr()); err != nil {
		return exit(exitCantCreate, err)
	}
	a.configFile = filepath.Join(dir, "mxbypass.toml")
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	// The log would come between the lines of the tour.
	log := &heldWriter{to: a.errOut}
	relay := &app{in: a.in, out: a.out, errOut: log, configFile: a.configFile}
	err = relay.serve(ctx, c, signals, func() error {
		served = true
		err := a.demoTour(ctx, c, dir)
		return errors.Join(err, log.release())
	})
	if served {
		fmt.Fprintf(a.out, "\nEverything is still in %s\n", dir)
	}
	return errors.Join(err, log.release())
}

// canListen tries the address, before anything is written: the demo that runs already may use the same folder.
func canListen(ctx context.Context, address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "0" {
		return exit(exitUsage, fmt.Errorf("--listen %s: want an address and a port, such as %s", address, configs.DemoListen))
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return exit(exitUnavailable, fmt.Errorf("%s is in use: end the program that listens there, "+
			"or choose another address with --listen", address))
	}
	if err != nil {
		return exit(exitUnavailable, fmt.Errorf("--listen %s: %w", address, err))
	}
	return l.Close()
}

// demoDir makes the folder of the demo and tells whether it is a new one, of a name that we chose.
func demoDir(dir string) (path string, fresh bool, err error) {
	if dir == "" {
		path, err = os.MkdirTemp("", "mxbypass-demo-")
		return path, true, err
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", false, err
	}
	return path, false, os.MkdirAll(path, 0o755)
}

// writeDemo puts configuration and directory into the folder. A directory that is there already is somebody's work, and
// so is a configuration that is not of an earlier demo.
func writeDemo(dir, listen, dns string) error {
	text, err := configs.Demo.ReadFile("demo/mxbypass.toml")
	if err != nil {
		return err
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	replaced := strings.NewReplacer(
		configs.DemoDir, escape.Replace(dir),
		configs.DemoListen, escape.Replace(listen),
		configs.DemoDNS, dns,
	).Replace(string(text))
	path := filepath.Join(dir, "mxbypass.toml")
	first, _, _ := strings.Cut(replaced, "\n")
	if there, err := os.ReadFile(path); err == nil && !strings.HasPrefix(string(there), first) {
		return fmt.Errorf("%s is not of a demo: choose another folder with --dir", path)
	}
	if err := os.WriteFile(path, []byte(replaced), 0o644); err != nil {
		return err
	}
	if text, err = configs.Demo.ReadFile("demo/directory.toml"); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "directory.toml"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// demoTour sends the first message and shows what becomes of it.
func (a *app) demoTour(ctx context.Context, c *configs.Config, dir string) error {
	listen := c.Listeners[0].Address.Address
	fmt.Fprintf(a.out, "mxbypass demo: an SMTP relay on %s, its DNS server on %s,\nconfiguration and mail in %s\n",
		listen, c.DNS.Servers[0], dir)

	a.heading("A first message, over SMTP")
	id := fmt.Sprintf("<%d@client.test>", time.Now().UnixNano())
	if err := a.demoSend(ctx, listen, id); err != nil {
		return exit(exitSoftware, fmt.Errorf("the first message: %w", err))
	}

	a.heading("Why it goes there (mxbypass route)")
	route, err := a.findRoute(ctx, c, demoAddress, routing.Client{}, false)
	if err == nil {
		err = routing.Explain(a.out, route)
	}
	if err != nil {
		return err
	}

	a.heading("The file in the Maildir")
	file, text, err := findMessage(filepath.Join(dir, "mail", "exemple.org", "foobar", "Maildir", "new"), id)
	if err != nil {
		return exit(exitSoftware, err)
	}
	fmt.Fprintln(a.out, file)
	for line := range strings.Lines(string(text)) {
		line = strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")
		fmt.Fprintln(a.out, "  "+mailbox.Printable(line))
	}

	a.heading("Your turn, in another terminal")
	for _, try := range []struct{ why, command string }{
		{"accepted", "swaks --server " + listen + " --to " + demoAddress},
		{"no such mailbox", "swaks --server " + listen + " --to nobody%exemple.org@mx.host.test"},
		{"not hosted, and never relayed", "swaks --server " + listen + " --to foobar%foreign.example@mx.host.test"},
		{"one hop only", "swaks --server " + listen + " --to foobar%exemple.org%mx.host.test@mx.host.test"},
		{"the gateway of one customer", "swaks --server " + listen + " --to foobar%gandi.example@vps42.host.test"},
		{"why", os.Args[0] + " route " + demoAddress + " -c " + a.configFile},
		{"what DNS says", os.Args[0] + " mx doubled.example -c " + a.configFile},
		{"plain mail would follow the MX; in the demo it waits on this machine",
			"swaks --server " + listen + " --to foobar@exemple.org"},
		{"what waits, and why", os.Args[0] + " queue list -c " + a.configFile},
	} {
		fmt.Fprintf(a.out, "  # %s\n  %s\n", try.why, try.command)
	}
	fmt.Fprintln(a.out, "\nServing until Ctrl-C.")
	return nil
}

func (a *app) heading(text string) { fmt.Fprintf(a.out, "\n== %s\n\n", text) }

// findMessage finds the message with that Message-ID in a folder.
func findMessage(folder, id string) (path string, text []byte, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		path = filepath.Join(folder, e.Name())
		if text, err = os.ReadFile(path); err != nil {
			return "", nil, err
		}
		if bytes.Contains(text, []byte(id)) {
			return path, text, nil
		}
	}
	return "", nil, fmt.Errorf("the message %s is not in %s", id, folder)
}
