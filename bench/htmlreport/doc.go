// Package htmlreport renders measurements as one HTML file that needs nothing
// else: no script, no font, no image, no address. Tables are HTML, charts are
// inline SVG.
//
// Invariants:
//
//   - Every string of a Document is data: it is escaped, and characters that
//     neither HTML nor XML may hold become U+FFFD. The page forbids itself, by a
//     Content-Security-Policy, to load or run anything.
//   - The page is also well-formed XML, which is what the tests parse it as.
//   - Write writes a whole page or nothing: a malformed document is found before
//     the first byte.
//   - No value is left out silently: what cannot be drawn is counted below its
//     chart, and each chart's figures follow it as a table.
//   - Colours have a contrast of 3:1 or more against the background, light and
//     dark (WCAG 2.1, 1.4.11), and never carry a meaning alone: series differ in
//     marker or order, good and bad cells have a sign.
//   - The size is bounded by the limits below, not by luck.
package htmlreport
