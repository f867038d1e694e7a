// Draws the course of dissatisfaction, and keeps what a reader has opened open while fragments change.
"use strict";

const refreshMs = 1000 * Number(document.body.dataset.refresh || 2);
const opened = new Map();
const main = document.querySelector("main");

main.addEventListener("toggle", (event) => {
  if (event.target.id && event.target.isConnected) opened.set(event.target.id, event.target.open);
}, true);

let focused = "";
main.addEventListener("focusin", (event) => {
  focused = event.target.closest("summary")?.parentElement.id ?? "";
});
main.addEventListener("focusout", (event) => {
  if (event.target.isConnected && event.relatedTarget) focused = "";
});

new MutationObserver(() => {
  for (const [id, open] of opened) {
    const details = document.getElementById(id);
    if (details && details.open !== open) details.open = open;
  }
  if (focused && document.activeElement === document.body) {
    document.getElementById(focused)?.querySelector("summary")?.focus();
  }
}).observe(main, { childList: true, subtree: true });

const holder = document.getElementById("chart");
const chart = holder && window.echarts ? echarts.init(holder, null, { renderer: "svg" }) : null;
const dark = matchMedia("(prefers-color-scheme: dark)");
// Okabe and Ito; versions differ by symbol too.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];
const DARK = ["#56b4e9", "#f08a4b", "#4ecda4", "#e2a3c7", "#f0b429"];
const SYMBOLS = ["circle", "rect", "triangle", "diamond", "pin"];

// A tooltip is HTML, and a version's name may come from a client.
const escaped = (text) => echarts.format.encodeHTML(text);
const percent = (rate) => `${Math.round(100 * rate)}%`;

function options(loop) {
  const colours = dark.matches ? DARK : COLOURS;
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--soft").trim();
  const strong = style.getPropertyValue("--ink").trim();
  const line = style.getPropertyValue("--line").trim();
  const series = loop.courses.map((course, place) => ({
    name: course.model_version, type: "line", showSymbol: true,
    symbol: SYMBOLS[place % SYMBOLS.length], symbolSize: 6, lineStyle: { width: 2 },
    color: colours[place % colours.length],
    data: course.points.map((point) => [point.time, point.rate, point.count, point.users, point.low, point.high]),
  }));
  // The intervals: a band from the lower bound up.
  const band = (course, place, name, bound, opacity) => ({
    name: `${course.model_version}: ${name}`, type: "line", stack: `interval ${place}`, silent: true, symbol: "none",
    color: colours[place % colours.length], lineStyle: { opacity: 0 }, areaStyle: { opacity }, z: 1,
    data: course.points.map((point) => [point.time, bound(point)]),
  });
  loop.courses.forEach((course, place) => series.push(
    band(course, place, "low", (point) => point.low, 0),
    band(course, place, "interval", (point) => point.high - point.low, 0.15),
  ));
  // A series of its own, so that an alarm of a version without points is drawn too.
  series.push({
    name: "alarm", type: "line", data: [],
    markLine: {
      symbol: "none", animation: false,
      lineStyle: { color: strong, type: "dashed", width: 1.5 },
      label: { formatter: (mark) => mark.name, color: ink, position: "end", distance: 12 },
      data: loop.alarms.filter((alarm) => alarm.stream === "dissatisfaction")
        .map((alarm) => ({ name: `alarm: ${alarm.model_version}`, xAxis: alarm.created })),
    },
  });
  return {
    animation: false, useUTC: true,
    grid: { left: 48, right: 24, top: 64, bottom: 28 },
    legend: { top: 0, left: 0, textStyle: { color: ink }, data: loop.courses.map((course) => course.model_version) },
    xAxis: { type: "time", axisLabel: { color: ink, hideOverlap: true }, axisLine: { lineStyle: { color: line } } },
    yAxis: { type: "value", min: 0, max: 1, axisLabel: { color: ink, formatter: percent }, splitLine: { lineStyle: { color: line } } },
    tooltip: {
      trigger: "item",
      formatter: (point) => point.value ? `<bdi>${escaped(point.seriesName)}</bdi><br>${percent(point.value[1])} [${percent(point.value[4])}, ${percent(point.value[5])}] of ${point.value[2]} follow-ups, ${point.value[3]} users` : escaped(point.name),
    },
    series,
  };
}

async function refresh() {
  const connection = document.getElementById("connection");
  try {
    const response = await fetch(`/api/loop.json${location.search}`);
    if (!response.ok) throw new Error(String(response.status));
    const loop = await response.json();
    if (holder) holder.hidden = !loop.courses.length;
    if (chart && loop.courses.length) { chart.resize(); chart.setOption(options(loop), { replaceMerge: ["series"] }); }
    connection.textContent = "";
  } catch (error) {
    connection.textContent = "The dashboard does not answer; what you see is old.";
  }
  setTimeout(refresh, refreshMs);
}

addEventListener("resize", () => chart?.resize());
refresh();
