package mx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// ednsSize is the size of a UDP answer that we ask for: it passes every path without fragments (DNS Flag Day 2020).
	ednsSize = 1232
	// bufferSize takes answers of servers that send more than they were asked for.
	bufferSize = 4096
	// maxStray bounds the datagrams of one question that are no answers to it.
	maxStray = 256
	// headerSize is that of a DNS message (RFC 1035 section 4.1.1).
	headerSize = 12
)

var (
	errNoAnswer = errors.New("no answer in time")
	errStray    = errors.New("only answers to other questions")
	errMismatch = errors.New("the answer is to another question")
)

// exchange asks one server: over UDP, and over TCP when the answer does not fit. Each question has a port and an id of
// its own. With secure it wants to know whether the answer was validated (RFC 6840 section 5.7). An error means that there
// was no answer.
func exchange(ctx context.Context, server string, question dns.Question, secure bool) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(question.Name, question.Qtype)
	query.AuthenticatedData = secure
	query.SetEdns0(ednsSize, false)
	answer, err := exchangeOver(ctx, "udp", server, query)
	if err != nil {
		return nil, err
	}
	if answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented {
		// A server from before EDNS (RFC 6891 section 7).
		query.Extra = nil
		query.Id = dns.Id()
		if answer, err = exchangeOver(ctx, "udp", server, query); err != nil {
			return nil, err
		}
	}
	if answer.Truncated {
		query.Id = dns.Id()
		if answer, err = exchangeOver(ctx, "tcp", server, query); err != nil {
			return nil, fmt.Errorf("over TCP: %w", err)
		}
	}
	return answer, nil
}

func exchangeOver(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, inTime(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	wire := &dns.Conn{Conn: conn, UDPSize: bufferSize}
	if err := wire.WriteMsg(query); err != nil {
		return nil, inTime(ctx, err)
	}
	if network == "tcp" {
		raw, err := wire.ReadMsgHeader(nil)
		if err != nil {
			return nil, inTime(ctx, err)
		}
		answer, ok := parseAnswer(raw, query)
		if !ok || answer.Truncated {
			return nil, errMismatch
		}
		return answer, nil
	}
	// Whatever else arrives at this port, late or forged, must not end the wait for the answer.
	for range maxStray {
		raw, err := wire.ReadMsgHeader(nil)
		if errors.Is(err, dns.ErrShortRead) {
			continue
		}
		if err != nil {
			return nil, inTime(ctx, err)
		}
		if answer, ok := parseAnswer(raw, query); ok {
			return answer, nil
		}
	}
	return nil, errStray
}

// inTime replaces an I/O error after the deadline by one for people.
func inTime(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return errNoAnswer
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// parseAnswer decodes a message and tells whether it is the answer to the query: id, question and all.
func parseAnswer(raw []byte, query *dns.Msg) (*dns.Msg, bool) {
	if len(raw) < headerSize || binary.BigEndian.Uint16(raw) != query.Id {
		return nil, false
	}
	answer := new(dns.Msg)
	err := answer.Unpack(raw)
	if !answer.Response || answer.Opcode != dns.OpcodeQuery || !sameQuestion(answer, query) {
		return nil, false
	}
	if err != nil && !answer.Truncated { // cut in the middle of a record, and it says so
		return nil, false
	}
	return answer, true
}

// sameQuestion tells whether the answer repeats the question. An error may come without it: the server could not read it.
func sameQuestion(answer, query *dns.Msg) bool {
	if len(answer.Question) == 0 {
		return answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented ||
			answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused
	}
	a, q := answer.Question[0], query.Question[0]
	return len(answer.Question) == 1 && strings.EqualFold(a.Name, q.Name) && a.Qtype == q.Qtype && a.Qclass == q.Qclass
}
