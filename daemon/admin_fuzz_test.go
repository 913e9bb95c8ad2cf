package main

import (
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzAdmin asks any admin route with any names and any body. Whatever is asked,
// the daemon answers what it means to, never with an internal error or a panic.
func FuzzAdmin(f *testing.F) {
	routes := slices.Sorted(maps.Keys(adminRoutes()))
	seed := func(route, name, body string) {
		i, ok := slices.BinarySearch(routes, route)
		if !ok {
			f.Fatalf("no route %s", route)
		}
		f.Add(byte(i), name, body)
	}
	seed("POST /v1/cluster", "", `{"name":"default","config_fs":".config_fs"}`)
	seed("POST /v1/buckets", "", `{"name":"alpha","policy":"download"}`)
	seed("PUT /v1/buckets/{name}/policy", "alpha", `{"preset":"public"}`)
	seed("POST /v1/users", "", `{"name":"alice","role":"s3","password":"Secret-key-1"}`)
	seed("POST /v1/groups", "", `{"name":"g"}`)
	seed("PATCH /v1/groups/{name}/members", "g", `{"add":["alice"]}`)
	seed("POST /v1/service-accounts", "", `{"owner":"alice","policy":"{}"}`)
	seed("POST /v1/sts/assume-role", "", `{"access_key":"alice","duration_seconds":900}`)
	seed("POST /v1/policies", "", `{"name":"p","document":"{}"}`)
	seed("POST /v1/policies/simulate", "", `{"action":"s3:GetObject","resource":"a/b","anonymous":true,"context":{"aws:SourceIp":["192.0.2.1"]}}`)
	seed("PUT /v1/oidc/{name}", "corp", `{"name":"corp","issuer":"https://login.example.com","client_ids":["x"]}`)
	seed("PATCH /v1/limits", "", `{"user":"alice","requests_per_second":5}`)
	seed("PATCH /v1/audit-webhook/batch", "", `{}`)
	seed("POST /v1/kms/keys", "", `{"name":"k"}`)
	mux := newDaemon(f, nil).adminMux()
	mux.ServeHTTP(httptest.NewRecorder(), asRoot("POST", "/v1/cluster", `{"name":"default","config_fs":".config_fs"}`))
	f.Fuzz(func(t *testing.T, route byte, name, body string) {
		method, path, _ := strings.Cut(routes[int(route)%len(routes)], " ")
		if strings.HasPrefix(path, "/v1/kms") || strings.HasPrefix(path, "/v1/audit-webhook") {
			if strings.Contains(body, "://") || strings.Contains(body, `\u`) {
				return // would go and ask whoever answers there
			}
		}
		for _, slot := range []string{"{name}", "{key}", "{id}"} {
			path = strings.ReplaceAll(path, slot, url.PathEscape(name))
		}
		target, err := url.ParseRequestURI(path)
		if err != nil || name == "" && strings.HasSuffix(path, "/") {
			return
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, asRoot(method, target.String(), body))
		if w.Code == 500 {
			t.Errorf("%s %s with %q: %d %s", method, path, body, w.Code, w.Body)
		}
	})
}
