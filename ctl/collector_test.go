package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// collector is a webhook for scripts: "collector" starts it and puts its URL in
// $COLLECTOR; what it takes is appended to the file "collected". Below /refuse it
// answers 403.
func collector(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: collector")
	}
	out, err := os.OpenFile(ts.MkAbs("collected"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	var mu sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := io.WriteString(out, r.Header.Get("Authorization")+"\n"+string(text)); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	srv := httptest.NewServer(mux)
	ts.Defer(func() { srv.Close(); out.Close() })
	ts.Setenv("COLLECTOR", srv.URL)
}
