package routing

import (
	"context"
	"strings"

	"mxbypass/mailbox"
	"mxbypass/routing/mx"
)

// tellBypassed notes the MX state that a bypass address went past, if it is known soon. The mail is delivered whatever
// it says.
func (q *query) tellBypassed(ctx context.Context, d mailbox.DomainName) {
	state, told := q.stateSoon(ctx, d)
	if !told {
		q.say("mx", "DNS did not tell soon where the MX of %s is: bypassed all the same", d.ASCII())
		return
	}
	q.route.Bypassed = &state
	if state.Kind == mx.Self {
		q.say("mx", "%s %s: there is nothing to bypass", d.ASCII(), describe(state))
		return
	}
	q.say("mx", "%s %s: bypassed", d.ASCII(), describe(state))
}

// stateSoon asks for an MX state that decides nothing. It is false when there was none in time.
func (q *query) stateSoon(ctx context.Context, d mailbox.DomainName) (mx.State, bool) {
	ctx, cancel := context.WithTimeout(ctx, q.patience)
	defer cancel()
	state := q.mx.State(ctx, d)
	return state, state.Kind != mx.Unknown || ctx.Err() == nil
}

// sayState notes the MX state that plain mail of policy auto follows.
func (q *query) sayState(d mailbox.DomainName, state mx.State) {
	format := "%s %s: its mail is kept here"
	switch state.Kind {
	case mx.External:
		format = "%s %s: its mail is kept elsewhere, but for mailboxes that are here"
	case mx.Null:
		format = "%s %s and says that it accepts no mail: what is kept here is served all the same"
	case mx.Unknown:
		format = "%s %s, because DNS failed: only a mailbox that is here can be told"
	}
	q.say("mx", format, d.ASCII(), describe(state))
}

// describe says an MX state as the predicate of a sentence about its domain.
func describe(state mx.State) string {
	var words string
	switch state.Kind {
	case mx.Null:
		words = "has a null MX"
	case mx.None:
		words = "has no MX"
	case mx.Unknown:
		words = "has an unknown MX state"
		if state.Err != nil {
			words += " (" + oneLine(state.Err) + ")"
		}
	default:
		words = "is " + string(state.Kind)
	}
	if state.Provider != "" {
		words += " (" + state.Provider + ")"
	}
	if state.Stale {
		words += " by an answer past its time"
	}
	return words
}

// oneLine gives an error that may be several ones, each in a line of its own.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (q *query) sayHosted(d mailbox.Domain) {
	q.route.Domain = d
	q.say("domain", "%s is hosted in site %s, policy %s", d.Name.ASCII(), d.Site, string(d.MX))
}

func (q *query) sayUnavailable(err error) {
	q.say("directory", "it cannot answer now: %s", err.Error())
}

func (q *query) sayNotGateway(address mailbox.Address) {
	q.say("gateway", "%s is no gateway, so %s there is no bypass address of ours", address.Domain.ASCII(),
		string(address.Local))
}

// entitlement says why mail may leave.
func (q *query) entitlement() string {
	if q.purpose == ReturnHome {
		return "a report goes home"
	}
	return "the client is trusted"
}

func (q *query) sayRelayed(hop Hop) {
	switch hop.Kind {
	case HopMX:
		q.say("relay", "it goes to the MX of %s", hop.Domain.ASCII())
	case HopExternal:
		q.say("relay", "it goes to the MX of %s, without the hosts that are ours", hop.Domain.ASCII())
	case HopServer:
		q.say("relay", "it goes to the server %s", hop.Server.String())
	case HopSmarthost:
		q.say("relay", "it goes to the smarthost")
	case HopNone:
	}
}
