package pebblemeta

import "github.com/sluicehq/sluice/engine/meta"

// maxSettled bounds the values kept at hand; beyond it they are kept afresh.
const maxSettled = 4096

// markers keeps values of meta.Settled keys for the committer, who alone uses it: as the
// commands applied so far left them, whether they are durable yet or not. A batch that
// fails takes the store with it, so nothing has to be undone.
type markers struct{ values map[string]known }

// known is a value, or that there is none.
type known struct {
	value string
	ok    bool
}

func (c *markers) get(t *tx, key []byte) ([]byte, bool, error) {
	if v, hit := c.values[string(key)]; hit {
		if !v.ok {
			return nil, false, nil
		}
		return []byte(v.value), true, nil
	}
	v, ok, err := t.read(key)
	if err != nil {
		return nil, false, err
	}
	if c.values == nil || len(c.values) >= maxSettled {
		c.values = make(map[string]known)
	}
	c.values[string(key)] = known{string(v), ok}
	return v, ok, nil
}

// forget is called for every key that a command changes.
func (c *markers) forget(key []byte) {
	if meta.Settled(key) {
		delete(c.values, string(key))
	}
}
