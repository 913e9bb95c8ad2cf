package config

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"
)

// clientOnly are SLUICE_ variables that other programs of Sluice read.
var clientOnly = map[string]bool{"SLUICE_SOCKET": true}

// Load fills c from the flags already parsed into fs, then environ ("K=V" as
// from os.Environ), then the TOML file that --config or SLUICE_CONFIG names.
func (c *Config) Load(fs *pflag.FlagSet, environ []string) error {
	env, err := environment(fs, environ)
	if err != nil {
		return err
	}
	if !fs.Changed("config") {
		c.File = env["config"]
	}
	file := map[string]string{}
	if c.File != "" {
		if file, err = readFile(fs, c.File); err != nil {
			return err
		}
	}
	var failed error
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil || f.Name == "config" {
			return
		}
		value, ok := env[f.Name]
		origin := envName(f.Name)
		if !ok {
			value, ok = file[f.Name]
			origin = c.File + ": " + f.Name
		}
		if !ok {
			return
		}
		if err := f.Value.Set(value); err != nil {
			failed = fmt.Errorf("%s: %w", origin, err)
		}
	})
	if failed != nil {
		return failed
	}
	return c.Validate()
}

// environment returns the SLUICE_ variables by flag name. An empty one counts as
// not set.
func environment(fs *pflag.FlagSet, environ []string) (map[string]string, error) {
	byEnv := map[string]string{}
	fs.VisitAll(func(f *pflag.Flag) { byEnv[envName(f.Name)] = f.Name })
	found := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "SLUICE_") || clientOnly[name] || value == "" {
			continue
		}
		flag, ok := byEnv[name]
		if !ok {
			return nil, fmt.Errorf("environment: %s is no option of sluiced", name)
		}
		found[flag] = value
	}
	return found, nil
}

// readFile returns the values of a TOML file by flag name, as flag text.
func readFile(fs *pflag.FlagSet, path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	var raw map[string]any
	if err := toml.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	keys := make([]string, 0, len(raw))
	for key := range raw {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	values := make(map[string]string, len(raw))
	for _, key := range keys {
		name := strings.ReplaceAll(key, "_", "-")
		if name == "config" || fs.Lookup(name) == nil {
			return nil, fmt.Errorf("%s: unknown key %q", path, key)
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("%s: key %q is given twice", path, name)
		}
		text, err := flagText(raw[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, key, err)
		}
		values[name] = text
	}
	return values, nil
}

// flagText renders a TOML value as the text of a flag.
func flagText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool, int64:
		return fmt.Sprint(v), nil
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return "", fmt.Errorf("a list must hold strings")
			}
			items[i] = s
		}
		return strings.Join(items, ","), nil
	}
	return "", fmt.Errorf("a %T does not fit", value)
}
