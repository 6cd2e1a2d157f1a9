'use strict';
// Plans by what they give and what they cost. `group`: dots of one model and length, as src/eval/pareto.h has them.

const paretoAxes = {
  score: {title: 'score %', value: d => 100 * d.score.mean, better: (a, b) => a > b},
  cache: {title: 'cache, MiB', value: d => d.kv_bytes / 2 ** 20, better: (a, b) => a < b},
  seconds: {title: 'seconds an answer', value: d => d.seconds, better: (a, b) => a < b}
};

// The dots that no other one beats on both axes, from left to right.
function paretoFront(dots, x, y) {
  const at = d => [x.value(d), y.value(d)];
  const beats = (a, b) => !x.better(b[0], a[0]) && !y.better(b[1], a[1]) && (x.better(a[0], b[0]) || y.better(a[1], b[1]));
  return dots.filter(d => !dots.some(other => beats(at(other), at(d)))).sort((a, b) => x.value(a) - x.value(b));
}

// Cache and time differ by factors: a logarithmic axis where they do so by more than eight.
function paretoScale(axis, dots) {
  if (axis === paretoAxes.score) return {min: 0, max: 100, title: {display: true, text: axis.title}, ticks: {stepSize: 20}};
  const values = dots.map(axis.value).filter(v => v > 0);
  const wide = values.length > 0 && Math.max(...values) > 8 * Math.min(...values);
  return {type: wide ? 'logarithmic' : 'linear', ...(wide ? {} : {min: 0}), title: {display: true, text: axis.title}};
}

function paretoChart(parent, title, dots, x, y, color) {
  const front = paretoFront(dots, x, y);
  const text = d => `${d.plan}: ${percent(d.score.mean)}%, ${bytes(d.kv_bytes)}, ${d.seconds.toFixed(2)} s`;
  const sets = dots.map(d => ({
    label: d.plan, data: [{x: x.value(d), y: y.value(d), text: text(d)}], pointRadius: 6, clip: false,
    borderColor: color(d.plan), borderWidth: 2, backgroundColor: d.best ? color(d.plan) : '#fff'
  }));
  sets.push({type: 'line', label: '', data: front.map(d => ({x: x.value(d), y: y.value(d)})), stepped: 'before',
             borderColor: '#8d97a5', borderWidth: 1.5, borderDash: [5, 4], pointRadius: 0, clip: false});
  chart(parent, title, {
    type: 'scatter',
    data: {datasets: sets},
    options: {
      scales: {x: paretoScale(x, dots), y: paretoScale(y, dots)},
      plugins: {legend: {display: false}, tooltip: {filter: i => i.dataset.label !== '', callbacks: {label: i => i.raw.text}}}
    }
  });
}

function paretoTable(parent, group, color) {
  const table = element('table', element('div', parent, undefined, 'scroll'), undefined, 'pareto');
  const columns = [['plan', d => d.plan, 1], ['frontier', d => d.best ? 'yes' : ''], ['score %', d => percent(d.score.mean)],
    ['95% interval', d => percent(d.score.low) + '–' + percent(d.score.high)], ['KL, nats', d => d.kl === null ? '–' : d.kl.toFixed(4)],
    ['cache', d => bytes(d.kv_bytes)], ['s an answer', d => d.seconds.toFixed(2)], ['ms a token', d => d.token_ms.toFixed(2)]];
  const head = element('tr', table);
  for (const [name, , text] of columns) element('th', head, name, text ? 'text' : '');
  for (const dot of group.dots) {
    const line = element('tr', table, undefined, dot.best ? 'best' : '');
    for (const [, value, text] of columns) element('td', line, value(dot), text ? 'text' : '');
    const mark = element('span', undefined, '● ');
    mark.style.color = color(dot.plan);
    line.firstChild.prepend(mark);
  }
}

function paretoGroup(parent, group, title, color) {
  const {score, cache, seconds} = paretoAxes;
  element('h3', parent, `${title} · ${group.prompts} prompts of ${group.tasks.join(', ')}`);
  const grid = element('div', parent, undefined, 'grid');
  paretoChart(grid, 'score against cache', group.dots, cache, score, color);
  paretoChart(grid, 'score against time', group.dots, seconds, score, color);
  paretoChart(grid, 'time against cache', group.dots, cache, seconds, color);
  paretoTable(parent, group, color);
}
