package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// load runs the whole chain: flags, environment, file, defaults.
func load(t *testing.T, args []string, environ []string) (Config, error) {
	t.Helper()
	c := Default()
	fs := c.Flags()
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	return c, c.Load(fs, environ)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	file := write(t, "drive = [\"/f1\", \"/f2\"]\ntls = \"off\"\nqueue-depth = 7\nstall_timeout = \"5s\"\nreserve = \"64MiB\"\npin-cpus = false\n")
	c, err := load(t, []string{"--config", file, "--queue-depth", "9"}, []string{"SLUICE_TLS=required", "SLUICE_QUEUE_DEPTH=8", "HOME=/x", "SLUICE_SOCKET=/s"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Depth != 9 {
		t.Errorf("queue-depth %d: a flag goes before environment and file", c.Depth)
	}
	if c.TLS != TLSRequired {
		t.Errorf("tls %q: the environment goes before the file", c.TLS)
	}
	if strings.Join(c.Drives, ",") != "/f1,/f2" || c.StallTimeout != 5*time.Second || c.Reserve != 64<<20 || c.PinCPUs {
		t.Errorf("file values are lost: %+v", c)
	}
	if c.Region != "us-east-1" || c.Listen[0] != ":9000" {
		t.Errorf("defaults are lost: %+v", c)
	}
}

func TestTrustedProxies(t *testing.T) {
	c, err := load(t, []string{"--drive", "/a"}, []string{"SLUICE_TRUSTED_PROXIES=10.1.2.3/8, ::ffff:192.0.2.7,2001:db8::1/32"})
	if err != nil {
		t.Fatal(err)
	}
	if got := (*prefixes)(&c.TrustedProxies).String(); got != "10.0.0.0/8,192.0.2.7/32,2001:db8::/32" {
		t.Error(got)
	}
	file := write(t, "drive = \"/a\"\ntrusted-proxies = [\"10.0.0.0/8\", \"127.0.0.1\"]\n")
	if c, err = load(t, []string{"--config", file}, nil); err != nil || len(c.TrustedProxies) != 2 {
		t.Errorf("%v, %v", c.TrustedProxies, err)
	}
}

func TestMetadataDirs(t *testing.T) {
	file := write(t, "drive = \"d\"\nmetadata-dir = [\"/m1\", \"/m2\"]\ntrust-metadata = true\n")
	c, err := load(t, []string{"--config", file}, nil)
	if err != nil || strings.Join(c.MetadataDirs, ",") != "/m1,/m2" || !c.TrustMetadata || !filepath.IsAbs(c.Drives[0]) {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = load(t, []string{"--config", file, "--trust-metadata=false"}, []string{"SLUICE_METADATA_DIR=/e"})
	if err != nil || strings.Join(c.MetadataDirs, ",") != "/e" || c.TrustMetadata {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestFileNamedByEnvironment(t *testing.T) {
	file := write(t, `drive = "/d"`)
	c, err := load(t, nil, []string{"SLUICE_CONFIG=" + file})
	if err != nil || len(c.Drives) != 1 || c.Drives[0] != "/d" {
		t.Fatalf("%v %v", c.Drives, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		args, env []string
		file      string
		want      string
	}{
		"no drive":         {want: "no drive given"},
		"drive twice":      {args: []string{"--drive", "/a,/b", "--drive", "/a/"}, want: "given twice"},
		"metadata twice":   {args: []string{"--drive", "/a", "--metadata-dir", "/m,/m"}, want: "metadata-dir: /m is given twice"},
		"metadata, drive":  {args: []string{"--drive", "/a", "--metadata-dir", "/a"}, want: "given twice"},
		"tls":              {args: []string{"--drive", "/a", "--tls", "maybe"}, want: "auto, required or off"},
		"io":               {args: []string{"--drive", "/a", "--io", "mmap"}, want: "polled or pread"},
		"depth":            {args: []string{"--drive", "/a", "--queue-depth", "0"}, want: "1-4096"},
		"buffers":          {args: []string{"--drive", "/a", "--buffer-memory", "1MiB"}, want: "16 MiB"},
		"read cache":       {args: []string{"--drive", "/a", "--read-cache", "2TiB"}, want: "above 1 TiB"},
		"congestion":       {args: []string{"--drive", "/a", "--tcp-congestion", "../bbr"}, want: "no name of an algorithm"},
		"congestion, long": {args: []string{"--drive", "/a", "--tcp-congestion", "abcdefghijklmnop"}, want: "no name of an algorithm"},
		"client auth":      {args: []string{"--drive", "/a", "--tls-client-auth", "maybe"}, want: "off, optional or required"},
		"client auth, CA":  {args: []string{"--drive", "/a", "--tls-client-auth", "optional"}, want: "needs --tls-client-ca"},
		"client auth, off": {args: []string{"--drive", "/a", "--tls", "off", "--tls-client-ca", "x", "--tls-client-auth", "optional"}, want: "needs TLS"},
		"client auth, http": {args: []string{"--drive", "/a", "--tls-client-ca", "x", "--tls-client-auth", "required"},
			want: "needs --tls required"},
		"per address":      {args: []string{"--drive", "/a", "--max-connections-per-address", "-2"}, want: "below -1"},
		"proxies":          {file: "drive = \"/a\"\ntrusted-proxies = [\"10.0.0.0/33\"]\n", want: "no address or range"},
		"size":             {args: []string{"--drive", "/a", "--reserve", "lots"}, want: "no size"},
		"timeout":          {args: []string{"--drive", "/a", "--stall-timeout", "0s"}, want: "positive"},
		"log level":        {args: []string{"--drive", "/a", "--log-level", "loud"}, want: "log-level"},
		"unknown variable": {args: []string{"--drive", "/a"}, env: []string{"SLUICE_DRIVES=/a"}, want: "SLUICE_DRIVES"},
		"bad variable":     {args: []string{"--drive", "/a"}, env: []string{"SLUICE_QUEUE_DEPTH=x"}, want: "SLUICE_QUEUE_DEPTH"},
		"unknown key":      {file: "drives = [\"/a\"]\n", want: `unknown key "drives"`},
		"key twice":        {file: "drive = \"/a\"\nlog-level = \"info\"\nlog_level = \"warn\"\n", want: "given twice"},
		"config in config": {file: "config = \"/a\"\n", want: "unknown key"},
		"table":            {file: "[drive]\npath = \"/a\"\n", want: "does not fit"},
		"bad list":         {file: "drive = [1]\n", want: "must hold strings"},
		"bad syntax":       {file: "drive = \n", want: "toml"},
		"absent file":      {args: []string{"--config", "/nonexistent/x.toml"}, want: "configuration file"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.file != "" {
				tc.args = append(tc.args, "--config", write(t, tc.file))
			}
			_, err := load(t, tc.args, tc.env)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v; want one with %q", err, tc.want)
			}
		})
	}
}
