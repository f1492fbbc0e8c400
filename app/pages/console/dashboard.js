// What happens, over time: charts that renew themselves while somebody looks.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import * as api from "./api.js";
import { make, moment } from "./element.js";
import { byId } from "./shared/dom.js";

const EVERY = 30_000;
const HEIGHT = 180;
const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
const last = (values) => values.findLast((value) => value !== null) ?? null;
const milliseconds = (value) => (value === null ? "–" : `${whole.format(Math.round(value))} ms`);
const number = (value) => (value === null ? "–" : whole.format(value));

// `of`: how a series is summed up while nothing is pointed at; a series may have its own.
const CHARTS = [
  {
    id: "sign-ins", title: "Sign-ins", of: sum,
    series: [["sign_ins", "Signed in"], ["failures", "Refused"], ["mfa_failures", "of these, wrong code"]],
  },
  { id: "sign-ups", title: "New accounts", of: sum, series: [["sign_ups", "Registered"]] },
  {
    id: "vends", title: "Credentials handed out", of: sum,
    series: [["vends_cached", "From a cache"], ["vends_issued", "Issued by STS"], ["vends_refused", "Refused"]],
  },
  { id: "live", title: "Live credentials", of: last, series: [["live_credentials", "Alive"], ["revocations", "Revoked", sum]] },
  { id: "latency", title: "STS, time to answer", of: meanLatency, say: milliseconds, unit: " ms", series: [["sts_mean_ms", "Mean"]] },
  { id: "errors", title: "STS, trouble", of: sum, series: [["sts_errors", "Failed calls"], ["sts_slow", "Over a second"]] },
];
const COLORS = ["--series-1", "--series-2", "--series-3"];

let stats = null;
let drawn = [];
let timer = 0;
let active = false;
let latest = 0;

const values = (name) => stats.buckets.map((bucket) => bucket[name]);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function meanLatency() {
  const calls = sum(values("sts_calls"));
  return calls ? sum(stats.buckets.map((bucket) => (bucket.sts_mean_ms ?? 0) * bucket.sts_calls)) / calls : null;
}

function tiles() {
  const failures = sum(values("failures"));
  const tries = failures + sum(values("sign_ins"));
  const share = tries ? make("small", {}, ` ${Math.round((100 * failures) / tries)} %`) : null;
  const rows = [
    ["Users", number(last(values("users")))],
    ["New accounts", number(sum(values("sign_ups")))],
    ["Sign-ins", number(sum(values("sign_ins")))],
    ["Refused sign-ins", number(failures), share],
    ["Keys handed out", number(sum(values("vends_cached")) + sum(values("vends_issued")))],
    ["Live credentials", number(last(values("live_credentials")))],
    ["STS, mean", milliseconds(meanLatency())],
    ["STS errors", number(sum(values("sts_errors")))],
  ];
  byId("tiles").replaceChildren(...rows.map(([name, value, more = null]) => make("div", {}, make("dt", {}, name), make("dd", {}, value, more))));
  byId("tiles").setAttribute("aria-busy", "false");
}

const summary = (chart, [name, , of = chart.of]) => (chart.say ?? number)(of(values(name)));

function legend(chart) {
  const cells = chart.series.map((series, place) => ({ series, cell: make("b", {}, summary(chart, series)), place }));
  const items = cells.map(({ series, cell, place }) => make("li", {}, make("i", { class: `swatch series-${place + 1}` }), `${series[1]} `, cell));
  const point = (plot) => {
    const at = plot.cursor.idx;
    for (const { series, cell } of cells) {
      cell.textContent = at === null || at === undefined ? summary(chart, series) : (chart.say ?? number)(stats.buckets[at]?.[series[0]] ?? null);
    }
  };
  return { element: make("ul", { class: "legend" }, ...items), point };
}

const axis = (more) => ({
  stroke: color("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, ...more,
});

function options(chart, width, point) {
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "stats" }, drag: { x: false, y: false }, y: false },
    scales: { y: { range: (_plot, _least, most) => [0, Math.max(most ?? 0, 1) * 1.08] } },
    axes: [
      axis({ space: 70 }),
      axis({ size: 48, space: 34, incrs: chart.say ? undefined : [1, 2, 5].flatMap((step) => Array.from({ length: 10 }, (_, power) => step * 10 ** power)).sort((a, b) => a - b), values: (_plot, ticks) => ticks.map((tick) => `${short.format(tick)}${chart.unit ?? ""}`) }),
    ],
    series: [
      {},
      ...chart.series.map(([, label], place) => ({
        label,
        stroke: color(COLORS[place]),
        width: 2,
        fill: place === 0 ? `color-mix(in srgb, ${color(COLORS[0])} 12%, transparent)` : undefined,
        // Between hours without a call there is no line to see: the points are.
        spanGaps: true,
        points: { show: stats.buckets.length <= 12 || Boolean(chart.unit), size: 5 },
      })),
    ],
    hooks: { setCursor: [point] },
  };
}

function draw() {
  for (const { plot } of drawn) plot.destroy();
  const times = stats.buckets.map((bucket) => Date.parse(bucket.start) / 1000);
  drawn = [];
  for (const chart of CHARTS) {
    const { element, point } = legend(chart);
    const place = make("div", { class: "plot", role: "img", "aria-label": `${chart.title}: ${chart.series.map((series) => `${series[1]} ${summary(chart, series)}`).join(", ")}` });
    const nothing = chart.series.every(([name]) => !values(name).some(Boolean));
    const figure = make("figure", { class: "card chart", "data-chart": chart.id, "data-empty": String(nothing) },
      make("figcaption", {}, make("h2", {}, chart.title), element), place,
      nothing ? make("p", { class: "nothing" }, "Nothing in this time.") : null);
    const known = byId("charts").querySelector(`[data-chart="${chart.id}"]`);
    if (known) known.replaceWith(figure);
    else byId("charts").append(figure);
    const plot = new uPlot(options(chart, place.clientWidth, point), [times, ...chart.series.map(([name]) => values(name))], place);
    drawn.push({ plot, place });
  }
}

function fillTable() {
  if (!byId("figures").open || !stats) return;
  const columns = [...new Map(CHARTS.flatMap((chart) => chart.series.map(([name, label]) => [name, `${chart.title}: ${label}`]))), ["users", "Users"]];
  const table = make("table", {},
    make("caption", { class: "unseen" }, "All figures, the newest first"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "From"), ...columns.map(([, label]) => make("th", { scope: "col" }, label)))),
    make("tbody", {}, ...stats.buckets.toReversed().map((bucket) =>
      make("tr", {}, make("th", { scope: "row" }, moment(bucket.start)), ...columns.map(([name]) => make("td", {}, number(bucket[name])))))));
  byId("figures").querySelector("div").replaceChildren(table);
}

function show() {
  byId("stats-error").hidden = true;
  const now = new Date(stats.generated_at);
  byId("updated").textContent = `As of ${new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }).format(now)}`;
  byId("behind").hidden = stats.counted_until === stats.generated_at;
  byId("behind").textContent = `Counted until ${new Date(stats.counted_until).toLocaleString()} so far: the service is catching up, and later events may be missing here.`;
  tiles();
  draw();
  fillTable();
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++latest;
  const window = document.querySelector("[name=window]:checked").value;
  try {
    const found = await api.getStats(window);
    if (mine !== latest || !active) return;
    stats = found;
    show();
  } catch (problem) {
    if (mine !== latest || !active) return;
    byId("stats-error").hidden = false;
    byId("stats-error").replaceChildren(make("p", {}, `The figures could not be renewed. ${api.explain(problem)}`), make("button", { type: "button", onclick: refresh }, "Try again"));
  } finally {
    if (mine === latest) plan();
  }
}

// Nobody looks at a hidden page: it asks again once it is seen.
function plan() {
  clearTimeout(timer);
  if (active && !document.hidden) timer = setTimeout(refresh, EVERY);
}

export function showDashboard() {
  active = true;
  return refresh();
}

export function hideDashboard() {
  active = false;
  clearTimeout(timer);
}

export function clearDashboard() {
  hideDashboard();
  stats = null;
  for (const { plot } of drawn) plot.destroy();
  drawn = [];
  byId("charts").replaceChildren();
  byId("tiles").replaceChildren();
  byId("figures").querySelector("div").replaceChildren();
}

export function wireDashboard() {
  byId("windows").addEventListener("change", refresh);
  byId("figures").addEventListener("toggle", fillTable);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : active && refresh()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (active && stats) draw(); });
  new ResizeObserver(() => {
    for (const { plot, place } of drawn) if (place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }).observe(byId("charts"));
}
