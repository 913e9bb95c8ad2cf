package policy

// lookups remembers the values of condition keys for the time of one decision:
// many statements ask for the same few keys. It lives on the stack.
type lookups struct {
	context Context
	steps   int // taken to match wildcards and to expand variables
	n       int
	keys    [8]string
	values  [8][]string
}

// maxSteps bounds the work of one decision, some 2 ms: wildcards in a policy of
// 20 KB, on a header of 16 KB, could otherwise take seconds of every request. What
// people write takes a few steps per pattern.
const maxSteps = 1 << 17

// spend takes n steps; it is false when there are none left.
func (l *lookups) spend(n int) bool {
	if l == nil {
		return true
	}
	l.steps += n
	return !l.spent()
}

// spent tells a decision that takes too many steps: it is a Deny, since what was
// not evaluated might have been one.
func (l *lookups) spent() bool { return l.steps > maxSteps }

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
