"use strict";
// Draws the charts of a report from the JSON in the page; the library is inlined above.
const data = JSON.parse(document.getElementById("data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const made = [];
const palette = ["--accent", "--good", "--bad", "--soft"];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options() {
  return {
    layout: { background: { color: "transparent" }, textColor: color("--soft"), fontSize: 12, attributionLogo: false },
    grid: { vertLines: { color: color("--grid") }, horzLines: { color: color("--grid") } },
    rightPriceScale: { borderColor: color("--line") },
    timeScale: { borderColor: color("--line"), timeVisible: true, secondsVisible: false, minBarSpacing: 0.01 },
  };
}

// `series` is a list of {kind, points, style()}: style is a function, for its colours change with the theme.
function chart(id, series) {
  const place = document.getElementById(id);
  if (!place) return [];
  const drawn = LightweightCharts.createChart(place, { autoSize: true, handleScroll: { vertTouchDrag: false }, ...options() });
  const lines = series.map((one) => {
    const line = drawn.addSeries(LightweightCharts[one.kind], one.style());
    line.setData(one.points);
    return line;
  });
  // The scale at the right takes its width after the first fit: without a second one the left part is lost.
  drawn.timeScale().fitContent();
  drawn.timeScale().subscribeSizeChange(() => drawn.timeScale().fitContent());
  made.push(() => {
    drawn.applyOptions(options());
    lines.forEach((line, k) => line.applyOptions(series[k].style()));
  });
  return lines;
}

const value = (points) => points.map(([time, value]) => ({ time, value }));
const percent = { type: "custom", minMove: 0.0001, formatter: (v) => (v * 100).toFixed(2) + " %" };
const digits = { type: "custom", minMove: 1e-8, formatter: (v) => String(Number(v.toPrecision(6))) };
const plain = { priceLineVisible: false, lastValueVisible: true };

function candles() {
  return {
    upColor: color("--good"), wickUpColor: color("--good"), borderUpColor: color("--good"),
    downColor: color("--bad"), wickDownColor: color("--bad"), borderDownColor: color("--bad"), priceLineVisible: false,
    priceFormat: digits,
  };
}

function drawPrices() {
  const points = data.candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close }));
  const [series] = chart("prices", [{ kind: "CandlestickSeries", points, style: candles }]);
  if (!series) return;
  const arrows = () => data.fills.map(([time, side]) => side > 0
    ? { time, position: "belowBar", color: color("--good"), shape: "arrowUp" }
    : { time, position: "aboveBar", color: color("--bad"), shape: "arrowDown" });
  const markers = LightweightCharts.createSeriesMarkers(series, arrows());
  made.push(() => markers.setMarkers(arrows()));
}

function drawAccounts() {
  const line = (name) => () => ({ ...plain, color: color(name), lineWidth: 2 });
  const area = () => ({ ...plain, lineColor: color("--accent"), topColor: color("--area"), bottomColor: "transparent", lineWidth: 2 });
  const held = data.benchmark.length
    ? [{ kind: "LineSeries", points: value(data.benchmark), style: () => ({ ...line("--soft")(), lineWidth: 1, lastValueVisible: false }) }]
    : [];
  chart("equity", [{ kind: "AreaSeries", points: value(data.equity), style: area }, ...held]);
  const under = () => ({
    ...plain, priceFormat: percent, baseValue: { type: "price", price: 0 }, bottomLineColor: color("--bad"),
    bottomFillColor1: color("--area-bad"), bottomFillColor2: color("--area-bad"), lineWidth: 1,
  });
  chart("drawdown", [{ kind: "BaselineSeries", points: value(data.drawdown), style: under }]);
  if (data.rolling.length) chart("rolling", [{ kind: "LineSeries", points: value(data.rolling), style: line("--accent") }]);
}

function drawNodes() {
  data.nodes.forEach((node, k) => {
    const style = (j) => () => ({
      ...plain, color: color(palette[j % palette.length]), lineWidth: 1, priceFormat: digits,
    });
    chart("node-" + k, node.lines.map((points, j) => ({ kind: "LineSeries", points: value(points), style: style(j) })));
  });
}

if (data.equity.length) {
  drawPrices();
  drawAccounts();
}
drawNodes();
dark.addEventListener("change", () => made.forEach((repaint) => repaint()));
