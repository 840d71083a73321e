package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/mailbox/directory"
	"mxbypass/relay/lookup"
	"mxbypass/relay/reply"
	"mxbypass/routing"
)

type routeFlags struct {
	client, from   string
	verify, asJSON bool
}

func (a *app) routeCommand() *cobra.Command {
	var f routeFlags
	c := &cobra.Command{
		Use:   "route ADDRESS",
		Short: "Explain where mail for an address would go, step by step",
		Long: "Explain where mail for an address would go, step by step. Nothing is sent. Who has no mailbox here may have\n" +
			"one with the other half of a split domain: that one is really asked only with --verify, by a connection to it;\n" +
			"without, the answer is taken to be yes.\n\n" +
			"The exit code is 0 when it would be delivered or relayed, 1 when it would be refused, 75 when that could\n" +
			"not be known or done now.",
		Example: "  mxbypass route foobar%exemple.org@mx.host.test\n" +
			"  mxbypass route someone@elsewhere.example --client 192.0.2.1\n" +
			"  mxbypass route someone@split.example --verify",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.route(cmd.Context(), args[0], f) },
	}
	c.Flags().StringVar(&f.client, "client", "", "IP `address` of the client that asks (default: one that is not trusted)")
	c.Flags().StringVar(&f.from, "from", "", "reverse-path, an `address` or <>, which alone rewritten senders take")
	c.Flags().BoolVar(&f.verify, "verify", false, "ask the other half of a split domain")
	c.Flags().BoolVar(&f.asJSON, "json", false, "for machines")
	return c
}

// routeAnswer is what route prints for machines.
type routeAnswer struct {
	routing.Explanation
	From    string `json:"from,omitempty"`
	Client  string `json:"client,omitempty"`
	Trusted bool   `json:"trusted"`
	Reply   string `json:"reply,omitempty"` // refuse, defer: what the client would be told
}

func (a *app) route(ctx context.Context, address string, f routeFlags) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	answer := routeAnswer{}
	client := routing.Client{}
	if f.from != "" {
		from, err := mailbox.ParseReversePath(unbracket(f.from), true)
		if err != nil {
			return exit(exitData, fmt.Errorf("--from %s: %w", f.from, err))
		}
		answer.From, client.NullSender = from.Address.String(), from.Address.IsNull()
	}
	if f.client != "" {
		if client.Addr, err = netip.ParseAddr(f.client); err != nil {
			return exit(exitUsage, fmt.Errorf("--client %s: want an IP address", f.client))
		}
		client.Addr = client.Addr.Unmap()
		client.Trusted = trusted(c.Clients.TrustedNetworks, client.Addr)
		answer.Client, answer.Trusted = client.Addr.String(), client.Trusted
	}
	route, err := a.findRoute(ctx, c, address, client, f.verify)
	if err != nil {
		return err
	}
	answer.Explanation = route.Explanation()
	if route.Err != nil {
		answer.Reply = reply.For(route.Err).String()
	}
	if f.asJSON {
		err = a.printJSON(answer)
	} else if err = routing.Explain(a.out, route); err == nil && answer.Reply != "" {
		_, err = fmt.Fprintf(a.out, "  the client is told: %s\n", answer.Reply)
	}
	if err != nil {
		return exit(exitIO, err)
	}
	switch route.Action {
	case routing.Refuse:
		return exit(exitRefused, nil)
	case routing.Defer:
		return exit(exitTemporary, nil)
	}
	return nil
}

// findRoute asks a router of its own. The person who asks waits for DNS as long as it takes, also when the route does
// not depend on it. The other half of a split domain is asked only when verify says so.
func (a *app) findRoute(ctx context.Context, c *configs.Config, address string, client routing.Client, verify bool) (
	r routing.Route, err error,
) {
	path, err := mailbox.ParsePath(unbracket(address), true)
	if err != nil {
		path.Written = address
		return routing.Route{Action: routing.Refuse, Path: path, Err: err}, nil
	}
	hostname, err := hostnameOf(c)
	if err != nil {
		return r, exit(exitConfig, err)
	}
	var opened closers
	defer func() { err = errors.Join(err, opened.close()) }()
	log := slog.New(slog.NewTextHandler(a.errOut, &slog.HandlerOptions{Level: slog.LevelWarn}))
	lookups, err := openLookup(c)
	if err != nil {
		return r, exit(exitConfig, err)
	}
	elsewhere, err := openAway(ctx, c, hostname, lookups, log, &opened)
	if errors.Is(err, fs.ErrPermission) { // who asks need not be who may read the secrets
		log.Warn("asked without what stands in the files of [relay]: rewritten senders are not known", "error", err)
		elsewhere, err = away{}, nil
	}
	var router *routing.Router
	if err == nil {
		var d directory.Reader
		if d, err = openDirectory(ctx, c, log); err == nil {
			opened.add(d.Close)
			router, err = commandRouter(c, hostname, d, lookups, elsewhere, &opened)
		}
	}
	if err != nil {
		return r, exit(exitConfig, err)
	}
	if !verify {
		router = router.Presuming()
	}
	return router.Route(ctx, path, client), nil
}

func commandRouter(c *configs.Config, hostname mailbox.DomainName, d mailbox.Directory, lookups *lookup.Client,
	elsewhere away, opened *closers,
) (*routing.Router, error) {
	states, release, err := new(mxCaches).acquire(c, lookups)
	if err != nil {
		return nil, err
	}
	opened.add(release)
	return newRouter(c, hostname, d, states, elsewhere, c.DNS.Timeout.Std())
}

func unbracket(path string) string {
	if inner, ok := strings.CutPrefix(path, "<"); ok {
		return strings.TrimSuffix(inner, ">")
	}
	return path
}

func trusted(networks []netip.Prefix, client netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(client.WithZone("")) {
			return true
		}
	}
	return false
}
