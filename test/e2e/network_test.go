package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const visitor = `
import socket, ssl, urllib.request

def handler(e, c):
    context = ssl.create_default_context(cafile="/var/task/ca.pem" if e["trust"] else None)
    out = {}
    try:
        out["address"] = socket.gethostbyname(e["host"])
        out["body"] = urllib.request.urlopen("https://%s:8443/" % e["host"], timeout=3, context=context).read().decode()
    except Exception as err:
        out["error"] = str(err)
    return out
`

// TestEgress: names resolve by the server's resolver and HTTPS verifies, to a private address
// that the operator has opened. To one that is not opened nothing gets through.
func TestEgress(t *testing.T) {
	site := newIsland(t)
	resolver := nameServer(t, map[string]string{"island.test.": site.addr, "other.test.": site.addr})
	in := lambda.CreateFunctionInput{FunctionName: aws.String("visitor"), Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), MemorySize: aws.Int32(512), Timeout: aws.Int32(30)}
	visit := func(r *region, host string, trust bool) (out struct{ Address, Body, Error string }) {
		payload, _ := json.Marshal(map[string]any{"host": host, "trust": trust})
		got := r.invoke("visitor", string(payload))
		if err := json.Unmarshal([]byte(got.body), &out); err != nil || got.fault != "" {
			t.Fatalf("%v: %+v", err, got)
		}
		return out
	}
	up := func(t *testing.T, flags ...string) *region {
		r := start(t, append(flags, "--dns", resolver)...)
		role := r.Role("visitor")
		in := in
		in.Role = &role
		r.Create(in, map[string]string{"app.py": visitor, "ca.pem": site.ca})
		return r
	}
	t.Run("open", func(t *testing.T) {
		r := up(t, "--egress-allow", site.addr+"/32:8443")
		if got := visit(r, "island.test", true); got.Address != site.addr || got.Body != "hello island.test" || got.Error != "" {
			t.Errorf("an authority that is trusted: %+v", got)
		}
		if got := visit(r, "island.test", false); !strings.Contains(got.Error, "CERTIFICATE_VERIFY_FAILED") {
			t.Errorf("an authority that is not trusted: %+v", got)
		}
		if got := visit(r, "other.test", true); got.Address != site.addr || !strings.Contains(got.Error, "Hostname mismatch") {
			t.Errorf("a name that is not the certificate's: %+v", got)
		}
		if got := visit(r, "absent.test", true); got.Address != "" || !strings.Contains(got.Error, "Name or service not known") {
			t.Errorf("a name that does not exist: %+v", got)
		}
	})
	t.Run("closed", func(t *testing.T) {
		r := up(t)
		before := site.connections.Load()
		if got := visit(r, "island.test", true); got.Address != site.addr || got.Body != "" || got.Error == "" {
			t.Errorf("a private address that is not opened: %+v", got)
		}
		if n := site.connections.Load() - before; n != 0 {
			t.Errorf("%d connections reached it", n)
		}
	})
}

// island is an HTTPS server in a network namespace beside the host's, at a private address. Its
// certificate is good for island.test.
type island struct {
	addr        string
	ca          string // PEM
	connections atomic.Int64
}

func newIsland(t *testing.T) *island {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	pid := os.Getpid()
	net24 := fmt.Sprintf("10.%d.%d", 200+pid%50, pid/50%250)
	i := &island{addr: net24 + ".2"}
	l := i.listen(t, fmt.Sprintf("isle%d", pid), net24)
	certificate := i.certify(t)
	s := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.Host)
			fmt.Fprint(w, "hello ", host)
		}),
		ErrorLog: log.New(io.Discard, "", 0), // refused handshakes are what is tested
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				i.connections.Add(1)
			}
		},
	}
	serve(t, func() error { return s.ServeTLS(l, "", "") }, func() { _ = s.Close() })
	return i
}

// serve runs a server until the test ends.
func serve(t *testing.T, run func() error, stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run()
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

// listen makes the namespace, joins it to the host's and listens in it.
func (i *island) listen(t *testing.T, link, net24 string) net.Listener {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // and never unlocked if the thread cannot go back to the host's namespace
	host, err := netns.Get()
	must(err)
	defer host.Close()
	there, err := netns.New()
	must(err)
	defer there.Close()
	must(netns.Set(host))
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link, TxQLen: -1}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(there))}
	must(netlink.LinkAdd(veth))
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	configure(t, link, net24+".1/24")
	must(netns.Set(there))
	configure(t, "eth0", net24+".2/24")
	l, err := net.Listen("tcp4", net24+".2:8443")
	must(err)
	must(netns.Set(host))
	runtime.UnlockOSThread()
	return l
}

func configure(t *testing.T, link, cidr string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, addr); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
}

// certify makes an authority and a certificate of it for the island.
func (i *island) certify(t *testing.T) tls.Certificate {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Island CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		t.Fatal(err)
	}
	i.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "island.test"}, DNSNames: []string{"island.test"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// nameServer serves names' IPv4 addresses on loopback and gives its own address.
func nameServer(t *testing.T, names map[string]string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		addr, ok := names[strings.ToLower(q.Question[0].Name)]
		switch {
		case !ok:
			a.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)}}
		}
		_ = w.WriteMsg(a)
	})}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	serve(t, s.ActivateAndServe, func() { _ = s.Shutdown() })
	<-started
	return pc.LocalAddr().String()
}

// TestOthersRequests: the Runtime API knows callers by their sandbox, so what one function knows
// of another's request is of no use to it; asking for an event gives it none but its own.
func TestOthersRequests(t *testing.T) {
	r := start(t)
	role := r.Role("others")
	r.aws("iam", "attach-role-policy", "--role-name", "others", "--policy-arn", "arn:aws:iam::aws:policy/AWSLambda_FullAccess")
	in := lambda.CreateFunctionInput{Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), MemorySize: aws.Int32(1024), Timeout: aws.Int32(60)}
	thief, victim := in, in
	thief.FunctionName, victim.FunctionName = aws.String("thief"), aws.String("victim")
	r.Create(thief, map[string]string{"app.py": `
import json, os, urllib.request, urllib.error
def call(path, data=None):
    url = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/" + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=5) as resp:
            return [resp.status, resp.read().decode(), resp.headers["Lambda-Runtime-Aws-Request-Id"]]
    except urllib.error.HTTPError as e:
        return [e.code, e.read().decode()]
    except OSError as e:
        return [0, str(e)]
def handler(e, c):
    return {"response": call(e["id"] + "/response", b'"stolen"'), "error": call(e["id"] + "/error", b"{}"),
            "next": call("next") == [200, json.dumps(e), c.aws_request_id]}
`})
	r.Create(victim, map[string]string{"app.py": `
import boto3, json
def handler(e, c):
    out = boto3.client("lambda").invoke(FunctionName="thief", Payload=json.dumps({"id": c.aws_request_id}))
    return {"mine": e["mine"], "thief": json.load(out["Payload"])}
`})
	for range 2 { // cold and warm
		got := r.invoke("victim", `{"mine":42}`)
		var seen struct {
			Mine  int
			Thief struct {
				Response, Error []any
				Next            bool
			}
		}
		if err := json.Unmarshal([]byte(got.body), &seen); err != nil || got.fault != "" || seen.Mine != 42 {
			t.Fatalf("the victim's answer: %v: %+v", err, got)
		}
		for what, answer := range map[string][]any{"response": seen.Thief.Response, "error": seen.Thief.Error} {
			if len(answer) != 2 || answer[0] != 400.0 || !strings.Contains(fmt.Sprint(answer[1]), "InvalidRequestID") {
				t.Errorf("%s of another's request: %v, want 400 InvalidRequestID", what, answer)
			}
		}
		if !seen.Thief.Next {
			t.Errorf("next during a request is not the thief's own event: %s", got.body)
		}
	}
}
