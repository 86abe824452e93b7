// Charts over time and by position, drawn by plotly in the colours of the page.

export const MARGIN = { l: 44, r: 14, t: 8, b: 28 };
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };

let loading = null;

/** Resolves when the library is there. It takes a browser half a second to read, so the figures are shown first. */
export function load() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.querySelector("meta[name=plotly]").content;
    script.addEventListener("load", () => resolve());
    script.addEventListener("error", () => reject(new Error("the charts' library could not be loaded")));
    document.head.append(script);
  });
  return loading;
}

/** A colour of the style sheet, light or dark as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const faded = (hex, share) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${share})`;
};

function axis(extra) {
  return {
    gridcolor: colour("grid"), zeroline: false, showline: false, fixedrange: true, automargin: false,
    tickfont: { size: 11, color: colour("soft") }, ...extra,
  };
}

function layout(xaxis, yaxis, extra) {
  return {
    margin: MARGIN, paper_bgcolor: colour("card"), plot_bgcolor: colour("card"), showlegend: false, dragmode: false, autosize: true,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { size: 12, color: colour("ink") } },
    xaxis: axis(xaxis), yaxis: axis(yaxis), ...extra,
  };
}

/** The upright line under the pointer. */
const spike = () => ({ spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: colour("soft") });

const TICKS = [60, 120, 300, 600, 900, 1800]; // s
const ROOM = 84; // pixels for the words of a tick

/** As many times as there is room for, all of them round. */
const times = (seconds, width) => ({
  dtick: 1000 * (TICKS.find((tick) => (seconds / tick) * ROOM <= width - MARGIN.l) ?? 3600),
  ticks: "outside", ticklen: 5, tickcolor: "rgba(0,0,0,0)",
});

const date = (at) => new Date(at * 1000); // plotly shows Date objects in the time of the place

/**
 * Lines over time.
 * lines: [{name, points: [[at, value or null]], colour, dash, width, fill}]; marks: Unix seconds of thin upright lines.
 * y: {least, most, format}: the axis never ends before `most`.
 */
export function drawLines(element, lines, { from, to, marks = [], y }) {
  if (!window.Plotly) return;
  const traces = lines.map((line) => ({
    type: "scatter", mode: "lines", name: line.name,
    x: line.points.map(([at]) => date(at)), y: line.points.map(([, value]) => value),
    line: { color: colour(line.colour), dash: line.dash ?? "solid", width: line.width ?? 1.8 },
    fill: line.fill ? "tozeroy" : "none", fillcolor: line.fill ? faded(colour(line.colour), 0.12) : undefined,
    hovertemplate: `%{y:${y.format}}<extra>${escaped(line.name)}</extra>`, connectgaps: false,
  }));
  const values = lines.flatMap((line) => line.points.map(([, value]) => value)).filter((value) => value !== null);
  const least = y.least, highest = Math.max(y.most, ...values);
  window.Plotly.react(
    element, traces,
    layout(
      { type: "date", range: [date(from), date(to)], ...times(to - from, element.clientWidth), tickformat: "%H:%M", showgrid: false, hoverformat: "%H:%M:%S", ...spike() },
      { range: [least, least + (highest - least) * 1.06], nticks: element.clientHeight > 200 ? 7 : 4, tickformat: y.format },
      {
        hovermode: "x unified",
        shapes: marks.map((at) => ({
          type: "line", xref: "x", yref: "paper", x0: date(at), x1: date(at), y0: 0, y1: 1, layer: "below",
          line: { color: colour("mark"), width: 1, dash: "dot" },
        })),
      },
    ),
    CONFIG,
  );
}

/** One bar for each position: shares of 0 to 1. */
export function drawBars(element, shares) {
  if (!window.Plotly) return;
  const trace = {
    type: "bar", x: shares.map((_, place) => place + 1), y: shares, marker: { color: colour("served") }, width: 0.62,
    text: shares.map((share) => `${Math.round(100 * share)} %`), textposition: "outside", cliponaxis: false,
    textfont: { size: 11, color: colour("soft") }, hovertemplate: "position %{x}: %{y:.1%}<extra></extra>",
  };
  window.Plotly.react(
    element, [trace],
    layout(
      { dtick: 1, range: [0.4, Math.max(4, shares.length) + 0.6], showgrid: false },
      { range: [0, Math.min(1.12, Math.max(0.3, ...shares) * 1.2)], tickformat: ".0%", nticks: 4 },
      { hovermode: "closest" },
    ),
    CONFIG,
  );
}

/** Plotly reads a few tags in names: none of a server's. */
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/[%{}]/g, "");
