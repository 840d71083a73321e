package certs

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"testing"
)

// What a handshake costs, both sides of it on this machine.
func BenchmarkHandshake(b *testing.B) {
	for _, kind := range []string{"ecdsa", "rsa"} {
		m := newManager(b, Options{Files: []Pair{issue(b, nil, kind, nil, "mx.host.test").pair(b, inDir(b, "a"))}})
		for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				client := &tls.Config{ServerName: "mx.host.test", InsecureSkipVerify: true, MaxVersion: version}
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := shake(m.Config(), client); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
			})
		}
	}
}

// What an idle connection holds on the server's side: what crypto/tls keeps, and the stack that the handshake has left.
func BenchmarkIdleMemory(b *testing.B) {
	const connections = 500
	m := newManager(b, Options{Files: []Pair{issue(b, nil, "ecdsa", nil, "mx.host.test").pair(b, inDir(b, "a"))}})
	before := inUse()
	ends := make([][2]net.Conn, connections)
	var servers, clients sync.WaitGroup
	ready := make(chan struct{}, connections)
	for i := range ends {
		a, c, err := connected()
		if err != nil {
			b.Fatal(err)
		}
		ends[i] = [2]net.Conn{a, c}
		servers.Go(func() {
			s := tls.Server(a, m.Config())
			if err := s.Handshake(); err != nil {
				b.Error(err)
			}
			ready <- struct{}{}
			_, _ = s.Read(make([]byte, 1))
		})
		// The client's memory is not to be counted: it is gone, its socket is not.
		clients.Go(func() {
			if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
				b.Error(err)
			}
		})
		<-ready
	}
	clients.Wait()
	var after uint64
	for b.Loop() {
		after = inUse()
	}
	b.ReportMetric((float64(after)-float64(before))/connections, "B/connection")
	for _, e := range ends {
		_ = e[1].Close()
		_ = e[0].Close()
	}
	servers.Wait()
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapInuse + s.StackInuse
}
