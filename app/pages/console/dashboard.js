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

// `of`: how a series is summed up while nothing is pointed at: a count by its sum, a gauge by its last value. A chart has
// counts or gauges, never both. `gauge`: the last bucket is as good as the others, because it is of now.
const CHARTS = [
  {
    id: "sign-ins", title: "Sign-ins", of: sum,
    series: [["sign_ins", "Signed in"], ["failures", "Refused"], ["mfa_failures", "Wrong code"]],
  },
  { id: "sign-ups", title: "Registrations", of: sum, series: [["sign_ups", "Registered"]] },
  {
    id: "vends", title: "Credentials handed out", of: sum,
    series: [["vends_cached", "From a cache"], ["vends_issued", "Issued by STS"], ["vends_refused", "Refused"]],
  },
  { id: "users", title: "Users", of: last, gauge: true, series: [["users", "Accounts"]] },
  { id: "live", title: "Live credentials", of: last, gauge: true, series: [["live_credentials", "Alive"]] },
  { id: "revocations", title: "Revoked credentials", of: sum, series: [["revocations", "Revoked"]] },
  { id: "latency", title: "STS, time to answer", of: meanLatency, gauge: true, say: milliseconds, unit: " ms", series: [["sts_mean_ms", "Mean"]] },
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
    ["Registrations", number(sum(values("sign_ups")))],
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

// When a bucket was: from when to when, and whether it is over.
function sayBucket(at) {
  const start = new Date(stats.buckets[at].start);
  const day = Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const time = Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const span = `${day.format(start)}, ${time.format(start)} to ${time.format(new Date(Number(start) + stats.bucket_seconds * 1000))}`;
  return at === stats.buckets.length - 1 ? `${span}, so far` : span;
}

// One line for the time and two for each series, whatever they say: plots of a row stay level, and nothing moves.
function legend(chart) {
  const cells = chart.series.map((series, place) => ({ series, cell: make("b", {}, summary(chart, series)), place }));
  const items = cells.map(({ series, cell, place }) =>
    make("li", {}, make("span", {}, make("i", { class: `swatch series-${place + 1}` }), series[1]), cell));
  const whole = chart.gauge ? (chart.say ? "Mean of this time" : "Now") : "All of this time";
  const when = make("p", { class: "when" }, whole);
  const point = (plot) => {
    const at = plot.cursor.idx;
    const pointed = at !== null && at !== undefined && stats.buckets[at];
    when.textContent = pointed ? sayBucket(at) : whole;
    for (const { series, cell } of cells) {
      cell.textContent = pointed ? (chart.say ?? number)(stats.buckets[at][series[0]] ?? null) : summary(chart, series);
    }
  };
  return { elements: [when, make("ul", { class: "legend" }, ...items)], point };
}

const axis = (more) => ({
  stroke: color("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, ...more,
});

// The day where it begins or the ticks are days apart, else the time.
function sayTicks(_plot, ticks, _axis, _space, step) {
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    return step >= 86_400 || (at.getHours() === 0 && at.getMinutes() === 0) ? day.format(at) : time.format(at);
  });
}

// A count is drawn twice: what is over, and dashed from there to the bucket that is not.
function lines(chart) {
  return chart.series.flatMap(([, label], place) => {
    const line = {
      label,
      stroke: color(COLORS[place]),
      width: 2,
      // Between hours without a call there is no line to see: the points are.
      spanGaps: true,
      points: { show: stats.buckets.length <= 12 || Boolean(chart.unit), size: 5 },
    };
    const fill = place === 0 ? `color-mix(in srgb, ${color(COLORS[0])} 12%, transparent)` : undefined;
    return chart.gauge ? [{ ...line, fill }] : [{ ...line, fill }, { ...line, dash: [3, 5], points: { show: false } }];
  });
}

function plotted(chart) {
  return chart.series.flatMap(([name]) => {
    const all = values(name);
    if (chart.gauge) return [all];
    return [all.with(-1, null), all.map((value, at) => (at < all.length - 2 ? null : value))];
  });
}

function options(chart, width, point) {
  return {
    width,
    height: HEIGHT,
    // The label of the last tick is centred below it: half of it needs the room.
    padding: [8, 30, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "stats" }, drag: { x: false, y: false }, y: false },
    scales: { y: { range: (_plot, _least, most) => [0, Math.max(most ?? 0, 1) * 1.08] } },
    axes: [
      axis({ size: 28, space: 70, values: sayTicks }),
      axis({ size: 48, space: 34, incrs: chart.say ? undefined : [1, 2, 5].flatMap((step) => Array.from({ length: 10 }, (_, power) => step * 10 ** power)).sort((a, b) => a - b), values: (_plot, ticks) => ticks.map((tick) => `${short.format(tick)}${chart.unit ?? ""}`) }),
    ],
    series: [{}, ...lines(chart)],
    hooks: { setCursor: [point] },
  };
}

function draw() {
  for (const { plot } of drawn) plot.destroy();
  const times = stats.buckets.map((bucket) => Date.parse(bucket.start) / 1000);
  drawn = [];
  for (const chart of CHARTS) {
    const { elements, point } = legend(chart);
    const place = make("div", { class: "plot", role: "img", "aria-label": `${chart.title}: ${chart.series.map((series) => `${series[1]} ${summary(chart, series)}`).join(", ")}` });
    const nothing = chart.series.every(([name]) => !values(name).some(Boolean));
    const figure = make("figure", { class: "card chart", "data-chart": chart.id, "data-empty": String(nothing), "data-gauge": String(Boolean(chart.gauge)) },
      make("figcaption", {}, make("h2", {}, chart.title), ...elements), place,
      nothing ? make("p", { class: "nothing" }, "Nothing in this time.") : null);
    const known = byId("charts").querySelector(`[data-chart="${chart.id}"]`);
    if (known) known.replaceWith(figure);
    else byId("charts").append(figure);
    const plot = new uPlot(options(chart, place.clientWidth, point), [times, ...plotted(chart)], place);
    drawn.push({ plot, place });
  }
}

function fillTable() {
  if (!byId("figures").open || !stats) return;
  const columns = [...new Map(CHARTS.flatMap((chart) => chart.series.map(([name, label]) => [name, `${chart.title}: ${label}`])))];
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
