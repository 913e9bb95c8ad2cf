package main

import (
	"fmt"
	"strconv"
	"strings"
)

// sizeMost is the largest object a row may have. One part of a multipart upload,
// and one PUT, may hold 5 GiB (Amazon S3 User Guide, "Uploading objects").
const sizeMost = 5 << 30

// units are the suffixes of sizes, the longer ones first.
func units() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"B", 1}}
}

// parseSize takes a size in bytes, with or without a unit: "4KiB", "64k", "100".
// All units are powers of 1024.
func parseSize(text string) (int64, error) {
	number, factor := text, int64(1)
	for _, u := range units() {
		if len(text) > len(u.name) && strings.EqualFold(text[len(text)-len(u.name):], u.name) {
			number, factor = text[:len(text)-len(u.name)], u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > sizeMost/factor {
		return 0, fmt.Errorf("size %q: want 1B…5GiB, such as 4KiB or 16MiB", text)
	}
	return n * factor, nil
}

// sizeName is the shortest exact name of a size; parseSize takes it.
func sizeName(n int64) string { return string(appendSize(nil, n)) }

func appendSize(b []byte, n int64) []byte {
	for _, u := range units()[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return append(strconv.AppendInt(b, n/u.bytes, 10), u.name...)
		}
	}
	return append(strconv.AppendInt(b, n, 10), 'B')
}

// parseList parses a list separated by commas, none of it twice.
func parseList[T comparable](text string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	seen := map[T]bool{}
	for part := range strings.SplitSeq(text, ",") {
		v, err := parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out, nil
}

func parseConcurrency(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 4096 {
		return 0, fmt.Errorf("-concurrency: %q: want 1…4096", text)
	}
	return n, nil
}

// parseRate takes the operations per second of an open loop; 0 is a closed loop.
func parseRate(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v != 0 && (v < 0.1 || v > 1e6) || v != v {
		return 0, fmt.Errorf("-rate: %q: want 0 (closed loop) or 0.1…1000000 operations per second", text)
	}
	return v, nil
}
