package htmlreport

// pageHTML is written so that what comes of it is XML, too: every element is
// closed, every attribute quoted.
const pageHTML = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{{.Title}}</title>
<style>
{{.Style}}</style>
</head>
<body>
<header>
<h1>{{.Title}}</h1>
{{with .Subtitle}}<p class="sub">{{.}}</p>
{{end}}{{if .Facts}}<dl>
{{range .Facts}}<div><dt>{{index . 0}}</dt><dd>{{index . 1}}</dd></div>
{{end}}</dl>
{{end}}{{if gt (len .Sections) 1}}<nav aria-label="Sections"><ul>
{{range .Sections}}<li><a href="#{{.ID}}">{{.Title}}</a></li>
{{end}}</ul></nav>
{{end}}</header>
<main>
{{range .Sections}}<section id="{{.ID}}" aria-labelledby="{{.ID}}-h">
<h2 id="{{.ID}}-h">{{.Title}}</h2>
{{range .Paragraphs}}<p>{{.}}</p>
{{end}}{{range .Tables}}{{template "table" .}}{{end}}{{range .Figures}}<figure>
<figcaption>{{.Title}}</figcaption>
{{.SVG}}
{{with .Note}}<p class="note">{{.}}</p>
{{end}}<details><summary>Figures</summary>
{{template "table" .Figures}}</details>
</figure>
{{end}}</section>
{{end}}</main>
</body>
</html>
{{define "table"}}<div class="scroll" tabindex="0" role="region" aria-label="{{.Label}}">
<table>
{{with .Caption}}<caption>{{.}}</caption>
{{end}}<thead><tr>{{range .Head}}<th scope="col" class="{{.Class}}">{{.Text}}</th>{{end}}</tr></thead>
<tbody>
{{range .Rows}}<tr>{{range $i, $c := .}}{{if eq $i 0}}<th scope="row" class="{{$c.Class}}">{{template "cell" $c}}</th>{{else}}<td class="{{$c.Class}}">{{template "cell" $c}}</td>{{end}}{{end}}</tr>
{{end}}</tbody>
</table>
</div>
{{end}}{{define "cell"}}{{.Text}}{{with .Mark}} <span class="mk" role="img" aria-label="{{$.Meaning}}">{{.}}</span>{{end}}{{with .Note}} <small>{{.}}</small>{{end}}{{end}}`

// pageCSS has the colours of light and dark side by side; TestContrast reads them.
// Paper is light. It may hold no < or &, which XML and HTML read differently.
const pageCSS = lightCSS + layoutCSS + `@media screen and (prefers-color-scheme: dark) {
` + darkCSS + `}
` + printCSS

const lightCSS = `body { background: #ffffff; color: #1b1f24; }
a { color: #0055aa; }
.sub, dt, small, caption, .note, summary { color: #545c66; }
th, td, .card { border-color: #d5dae0; }
thead th { background: #f1f4f7; }
tbody tr { background: #ffffff; }
tbody tr:nth-child(even) { background: #f8f9fb; }
.good { color: #0a6b3d; }
.bad { color: #b3261e; }
svg text { fill: #1b1f24; }
svg .tick, svg .axis { fill: #545c66; }
svg .grid, svg .rule { stroke: #e1e5ea; }
svg .base { stroke: #6b7480; }
svg .whisker { stroke: #1b1f24; }
svg .c0 { fill: #0060b9; stroke: #0060b9; }
svg .c1 { fill: #c44e00; stroke: #c44e00; }
svg .c2 { fill: #0a7d4b; stroke: #0a7d4b; }
svg .c3 { fill: #8f3fa8; stroke: #8f3fa8; }
svg .c4 { fill: #c2185b; stroke: #c2185b; }
svg .c5 { fill: #8a6100; stroke: #8a6100; }
svg .c6 { fill: #00768a; stroke: #00768a; }
svg .c7 { fill: #5c6670; stroke: #5c6670; }
`

const darkCSS = `body { background: #14171b; color: #e6e9ed; }
a { color: #7ab8ff; }
.sub, dt, small, caption, .note, summary { color: #a7b0ba; }
th, td, .card { border-color: #363d46; }
thead th { background: #1f242a; }
tbody tr { background: #14171b; }
tbody tr:nth-child(even) { background: #1a1e23; }
.good { color: #5fd39a; }
.bad { color: #ff8a80; }
svg text { fill: #e6e9ed; }
svg .tick, svg .axis { fill: #a7b0ba; }
svg .grid, svg .rule { stroke: #2b3138; }
svg .base { stroke: #8b949e; }
svg .whisker { stroke: #e6e9ed; }
svg .c0 { fill: #4c9dff; stroke: #4c9dff; }
svg .c1 { fill: #f08a3c; stroke: #f08a3c; }
svg .c2 { fill: #3fbf7f; stroke: #3fbf7f; }
svg .c3 { fill: #c583e0; stroke: #c583e0; }
svg .c4 { fill: #ff6f9f; stroke: #ff6f9f; }
svg .c5 { fill: #cfa631; stroke: #cfa631; }
svg .c6 { fill: #38b6cb; stroke: #38b6cb; }
svg .c7 { fill: #a3adb8; stroke: #a3adb8; }
`

const layoutCSS = `body { margin: 0 auto; max-width: 100rem; padding: 1.5rem 1.25rem 4rem; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem; }
p { max-width: 46rem; margin: .5rem 0; white-space: pre-line; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: .5rem 1.5rem; margin: 1rem 0; }
dt { font-size: .8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 0; padding: 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .87rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .4rem; font-size: .85rem; }
th, td { border-width: 0 0 1px; border-style: solid; padding: .3rem .6rem; vertical-align: baseline; }
th { font-weight: 600; }
tbody th { font-weight: 500; background: inherit; }
th:first-child { position: sticky; left: 0; }
.l { text-align: left; }
.r { text-align: right; }
.c { text-align: center; }
td.r, tbody th { white-space: nowrap; }
.good, .bad { font-weight: 600; white-space: nowrap; }
small { font-size: .8em; font-weight: 400; white-space: nowrap; }
td small { display: block; }
td.l:last-child { min-width: 14rem; }
figure { margin: 1.6rem 0; max-width: 56rem; }
figcaption { font-weight: 600; margin: 0 0 .4rem; }
.note { font-size: .85rem; }
summary { font-size: .85rem; cursor: pointer; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
svg text { stroke: none; }
svg .value, svg .tick { font-variant-numeric: tabular-nums; font-size: 11px; }
svg .grid, svg .rule { stroke-width: 1; }
svg .rule { stroke-dasharray: 1 3; }
svg .base { stroke-width: 1; }
svg path.whisker { fill: none; stroke-width: 1.4; }
svg .bar { stroke-width: 1; }
svg .bar.turn, svg .mark.turn { fill-opacity: .25; }
svg .curve { stroke-width: 2; stroke-linejoin: round; }
svg path.curve { fill: none; }
svg .curve.turn { stroke-dasharray: 6 3; }
svg .thin { stroke-width: 1; stroke-dasharray: none; }
svg .mark { stroke-width: 1; }
`

const printCSS = `@page { size: A4 landscape; margin: 12mm; }
@media print {
body { max-width: none; padding: 0; font-size: 10.5pt; }
nav, details { display: none; }
.scroll { overflow: visible; }
th:first-child { position: static; }
h2 { break-after: avoid; }
figure, tr { break-inside: avoid; }
thead { display: table-header-group; }
table { font-size: 7.5pt; }
th, td { padding: .15rem .3rem; }
td.l:last-child { min-width: 6rem; }
tbody th, small { white-space: normal; }
svg { max-height: 160mm; }
svg, th, tr { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`
