package kmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// T is what a Server needs of a test.
type T interface {
	Helper()
	Cleanup(fn func())
	Fatal(args ...any)
	TempDir() string
}

// Server is a transit engine. Its methods may be called while it serves.
type Server struct {
	t    T
	addr string
	http *httptest.Server

	mu        sync.Mutex
	token     string
	namespace string
	mount     string
	keys      map[string]*key
	denied    map[string]bool // verbs
	failures  int             // answers to spoil
	status    int             // with which status
	stall     chan struct{}   // not nil: requests wait for it
	requests  map[string]int  // by verb
	credit    int             // requests that are let in yet; -1: any number
}

type key struct {
	versions [][32]byte
	minimum  int // decryption version
	derived  bool
}

// New starts a server of HTTPS that ends with the test. It has no keys; its
// token is "token", its mount path "transit".
func New(t T) *Server {
	t.Helper()
	s := &Server{t: t, token: "token", mount: "transit", keys: map[string]*key{}, denied: map[string]bool{}, requests: map[string]int{}, credit: -1}
	s.Start()
	s.addr = s.http.Listener.Addr().String()
	t.Cleanup(s.Stop)
	return s
}

// Start starts a server that was stopped, at the same address.
func (s *Server) Start() {
	s.t.Helper()
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if s.addr != "" {
		ln, err := net.Listen("tcp", s.addr)
		for end := time.Now().Add(10 * time.Second); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond) // a connection to elsewhere has got the port
			ln, err = net.Listen("tcp", s.addr)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.http.Listener.Close(); err != nil {
			s.t.Fatal(err)
		}
		s.http.Listener = ln
	}
	s.http.StartTLS()
}

// Stop ends the server: connections are refused.
func (s *Server) Stop() {
	s.Resume()
	s.http.CloseClientConnections()
	s.http.Close()
}

// Address is the server's, https://HOST:PORT.
func (s *Server) Address() string { return "https://" + s.addr }

// CAFile writes the certificate to trust and returns the file's path.
func (s *Server) CAFile() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// SetToken changes the only token that is let in.
func (s *Server) SetToken(token string) { s.with(func() { s.token = token }) }

// SetNamespace has every request name the namespace.
func (s *Server) SetNamespace(name string) { s.with(func() { s.namespace = name }) }

// SetMount changes the engine's path.
func (s *Server) SetMount(path string) { s.with(func() { s.mount = path }) }

// AddKey makes a key.
func (s *Server) AddKey(name string, derived bool) {
	s.with(func() { s.keys[name] = &key{versions: [][32]byte{random()}, minimum: 1, derived: derived} })
}

// DropKey loses a key.
func (s *Server) DropKey(name string) { s.with(func() { delete(s.keys, name) }) }

// Retire sets the oldest version of a key that still decrypts.
func (s *Server) Retire(name string, minimum int) { s.with(func() { s.keys[name].minimum = minimum }) }

// Versions is the newest version of a key.
func (s *Server) Versions(name string) (n int) {
	s.with(func() { n = len(s.keys[name].versions) })
	return n
}

// Deny refuses the verbs: "keys", "rotate", "encrypt", "decrypt", "rewrap".
func (s *Server) Deny(verbs ...string) {
	s.with(func() {
		clear(s.denied)
		for _, v := range verbs {
			s.denied[v] = true
		}
	})
}

// DenyAfter refuses all that comes after n more requests; n < 0: nothing.
func (s *Server) DenyAfter(n int) { s.with(func() { s.credit = max(n, -1) }) }

// Fail spoils the next n answers with a status.
func (s *Server) Fail(n, status int) { s.with(func() { s.failures, s.status = n, status }) }

// Stall has requests wait until Resume.
func (s *Server) Stall() { s.with(func() { s.stall = make(chan struct{}) }) }

// Resume ends a Stall.
func (s *Server) Resume() {
	s.with(func() {
		if s.stall != nil {
			close(s.stall)
			s.stall = nil
		}
	})
}

// Requests is the number of requests of a verb, those that were spoilt included.
func (s *Server) Requests(verb string) (n int) {
	s.with(func() { n = s.requests[verb] })
	return n
}

func (s *Server) with(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func random() (k [32]byte) {
	rand.Read(k[:])
	return k
}

// answerError is an answer that is no success.
type answerError struct {
	status int
	text   string
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	stall := s.stall
	s.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-r.Context().Done():
			return
		case <-time.After(time.Minute):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, refusal := s.handle(r)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case refusal != nil:
		w.WriteHeader(refusal.status)
		body, _ := json.Marshal(map[string]any{"errors": []string{refusal.text}})
		w.Write(body)
	case data == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		body, _ := json.Marshal(map[string]any{"request_id": "1", "lease_id": "", "renewable": false, "data": data})
		w.Write(body)
	}
}

// handle answers one request, with s.mu held.
func (s *Server) handle(r *http.Request) (map[string]any, *answerError) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/"+s.mount+"/")
	if !ok {
		return nil, &answerError{404, fmt.Sprintf("no handler for route %q. route entry not found.", r.URL.Path)}
	}
	parts := strings.Split(path, "/")
	verb := parts[0]
	if len(parts) == 3 {
		verb = parts[2]
	}
	s.requests[verb]++
	if s.failures > 0 {
		s.failures--
		return nil, &answerError{s.status, "Vault is sealed"}
	}
	spent := s.credit == 0
	if s.credit > 0 {
		s.credit--
	}
	if spent || r.Header.Get("X-Vault-Token") != s.token || r.Header.Get("X-Vault-Namespace") != s.namespace || s.denied[verb] {
		return nil, &answerError{403, "1 error occurred:\n\t* permission denied\n\n"}
	}
	if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[0] != "keys" {
		return nil, &answerError{404, ""}
	}
	var in struct{ Plaintext, Ciphertext, Context, Type string }
	if r.Method == http.MethodPost {
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil {
			return nil, &answerError{400, "failed to parse JSON input: " + err.Error()}
		}
	}
	return s.do(r.Method, verb, parts[1], in.Plaintext, in.Ciphertext, in.Context)
}

func (s *Server) do(method, verb, name, plaintext, ciphertext, context string) (map[string]any, *answerError) {
	k := s.keys[name]
	switch {
	case method == http.MethodGet && verb == "keys":
		if k == nil {
			return nil, &answerError{404, ""}
		}
		return map[string]any{"name": name, "type": "aes256-gcm96", "latest_version": len(k.versions), "min_decryption_version": k.minimum}, nil
	case method != http.MethodPost:
		return nil, &answerError{405, "unsupported operation"}
	case verb == "keys":
		if k == nil {
			s.keys[name] = &key{versions: [][32]byte{random()}, minimum: 1}
		}
		return nil, nil
	case verb == "rotate":
		if k == nil {
			return nil, &answerError{400, "no existing key named " + name + " could be found"}
		}
		k.versions = append(k.versions, random())
		return nil, nil
	case k == nil && verb == "encrypt": // so a server does whose policy lets the token create
		k = &key{versions: [][32]byte{random()}, minimum: 1}
		s.keys[name] = k
	case k == nil:
		return nil, &answerError{400, "encryption key not found"}
	}
	ctx, err := base64.StdEncoding.DecodeString(context)
	if err != nil || k.derived && len(ctx) == 0 {
		return nil, &answerError{400, "missing 'context' for key derivation; the key was created using a derived key"}
	}
	switch verb {
	case "encrypt":
		plain, err := base64.StdEncoding.DecodeString(plaintext)
		if err != nil {
			return nil, &answerError{400, "failed to base64-decode plaintext"}
		}
		return map[string]any{"ciphertext": k.seal(plain, ctx), "key_version": len(k.versions)}, nil
	case "decrypt":
		plain, refusal := k.open(ciphertext, ctx)
		if refusal != nil {
			return nil, refusal
		}
		return map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)}, nil
	case "rewrap":
		plain, refusal := k.open(ciphertext, ctx)
		if refusal != nil {
			return nil, refusal
		}
		return map[string]any{"ciphertext": k.seal(plain, ctx), "key_version": len(k.versions)}, nil
	}
	return nil, &answerError{404, ""}
}

func (k *key) aead(version int, context []byte) cipher.AEAD {
	raw := k.versions[version-1][:]
	if k.derived {
		raw, _ = hkdf.Key(sha256.New, raw, nil, string(context), 32)
	}
	block, _ := aes.NewCipher(raw)
	aead, _ := cipher.NewGCMWithRandomNonce(block)
	return aead
}

func (k *key) seal(plain, context []byte) string {
	newest := len(k.versions)
	return fmt.Sprintf("vault:v%d:%s", newest, base64.StdEncoding.EncodeToString(k.aead(newest, context).Seal(nil, nil, plain, nil)))
}

func (k *key) open(ciphertext string, context []byte) ([]byte, *answerError) {
	rest, ok := strings.CutPrefix(ciphertext, "vault:v")
	number, text, found := strings.Cut(rest, ":")
	version, err := strconv.Atoi(number)
	box, err2 := base64.StdEncoding.DecodeString(text)
	switch {
	case !ok || !found || err != nil || err2 != nil || version < 1 || version > len(k.versions):
		return nil, &answerError{400, "invalid ciphertext: no prefix"}
	case version < k.minimum:
		return nil, &answerError{400, "ciphertext or signature version is disallowed by policy (too old)"}
	}
	plain, err := k.aead(version, context).Open(nil, nil, box, nil)
	if err != nil {
		return nil, &answerError{400, "cipher: message authentication failed"}
	}
	return plain, nil
}
