package policy

// lookups remembers the values of condition keys for the time of one decision:
// many statements ask for the same few keys. It lives on the stack.
type lookups struct {
	context Context
	n       int
	keys    [8]string
	values  [8][]string
}

// get returns the values of a key in normal form (see checkKey).
func (l *lookups) get(key string) []string {
	if l == nil || l.context == nil {
		return nil
	}
	for i := range l.n {
		if l.keys[i] == key {
			return l.values[i]
		}
	}
	v := l.context.Lookup(key)
	if l.n < len(l.keys) {
		l.keys[l.n], l.values[l.n] = key, v
		l.n++
	}
	return v
}
