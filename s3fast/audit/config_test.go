package audit

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

func TestConfigCheck(t *testing.T) {
	good := func() Config {
		return Config{Enabled: true, Endpoint: "https://splunk:8088/services/collector/raw", Token: "Splunk x", Batch: DefaultBatch()}
	}
	c := good()
	must(t, c.Check())
	off := Config{Batch: DefaultBatch()}
	must(t, off.Check())
	for want, change := range map[string]func(c *Config){
		"begins with http":        func(c *Config) { c.Endpoint = "ftp://x/" },
		"names a host":            func(c *Config) { c.Endpoint = "http:///x" },
		"must be a URL":           func(c *Config) { c.Endpoint = "" },
		"must be":                 func(c *Config) { c.Endpoint = "http://a b/" },
		"user and password":       func(c *Config) { c.Endpoint = "http://u:p@x/" },
		"fragment":                func(c *Config) { c.Endpoint = "http://x/#f" },
		"endpoint is longer":      func(c *Config) { c.Endpoint = "http://x/" + strings.Repeat("a", maxEndpoint) },
		"token is longer":         func(c *Config) { c.Token = strings.Repeat("a", maxToken+1) },
		"no header may":           func(c *Config) { c.Token = "a\r\nb: c" },
		"no certificate":          func(c *Config) { c.CA = "x" },
		"certificates are longer": func(c *Config) { c.CA = strings.Repeat("x", maxCA+1) },
		"batch mode":              func(c *Config) { c.Batch.Mode = "x" },
		"events per batch 0":      func(c *Config) { c.Batch.Count = 0 },
		"bytes per batch":         func(c *Config) { c.Batch.Bytes = MaxBytes + 1 },
		"between 10ms and 1m0s":   func(c *Config) { c.Batch.Linger = time.Hour },
		"timeout 0s":              func(c *Config) { c.Batch.Timeout = 0 },
		"spool size 1 is not":     func(c *Config) { c.Batch.Spool = 1 },
	} {
		c := good()
		change(&c)
		if err := c.Check(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	c.Endpoint = "https://x/y?channel=1&token=marker&sourcetype=a"
	if got := c.ShowEndpoint(); got != "https://x/y?channel=1&token=*REDACTED*&sourcetype=a" {
		t.Errorf("ShowEndpoint = %s", got)
	}
}

func TestConfigDocument(t *testing.T) {
	c := Config{Enabled: true, Endpoint: "http://x/", Token: "Splunk marker", Batch: DefaultBatch()}
	c.Batch.Linger = 300 * time.Millisecond
	doc, err := c.Marshal(testKey)
	must(t, err)
	if bytes.Contains(doc, []byte("marker")) {
		t.Errorf("the token is told: %s", doc)
	}
	got, err := Unmarshal(doc, testKey)
	if err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Unmarshal(doc, seal.NewKey([32]byte{9})); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another key: %v", err)
	}
	for _, bad := range []string{"", "{", "null", "{}", `{"version":2}`, string(doc) + "{}", `{"version":1,"x":1}`, strings.Repeat(" ", maxDocument+1)} {
		if _, err := Unmarshal([]byte(bad), testKey); !errors.Is(err, ErrConfig) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// FuzzConfig: a document is refused or is a configuration within its bounds.
func FuzzConfig(f *testing.F) {
	c := Config{Enabled: true, Endpoint: "http://x/", Token: "t", Batch: DefaultBatch()}
	doc, err := c.Marshal(testKey)
	must(f, err)
	f.Add(doc)
	f.Add([]byte(`{"version":1,"enabled":true}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := Unmarshal(doc, testKey)
		if err == nil {
			must(t, c.Check())
			again, err := c.Marshal(testKey)
			must(t, err)
			if back, err := Unmarshal(again, testKey); err != nil || back != c {
				t.Fatalf("%+v became %+v, %v", c, back, err)
			}
		}
	})
}
