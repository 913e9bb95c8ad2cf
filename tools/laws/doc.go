// Package laws holds the house rules as tests: which package may import which,
// where a dependency may be used, that every package says what it is for, and
// how long files and functions may grow.
package laws
