'use strict';
const {settings, cells, results} = data;
const plans = unique(cells.map(c => c.plan)), tasks = unique(cells.map(c => c.task));
const lengths = unique(cells.map(c => c.length)).sort((a, b) => a - b);
const color = plan => colors[plans.indexOf(plan) % colors.length];

function header() {
  document.getElementById('title').textContent = 'Loci evaluation: ' + settings.model;
  document.getElementById('settings').textContent =
      Object.entries(settings).map(([name, value]) => name.replace('_', ' ') + ' ' + value).join(' · ');
}

// A line with its band: the band's upper edge is filled down to the dataset before it.
function accuracyLines(task) {
  const sets = [];
  for (const plan of plans) {
    const at = lengths.map(n => cells.find(c => c.plan === plan && c.task === task && c.length === n));
    const line = part => at.map(c => c ? 100 * c.score[part] : null);
    const edge = {borderWidth: 0, pointRadius: 0, backgroundColor: color(plan) + '22'};
    sets.push({...edge, data: line('low'), label: ''}, {...edge, data: line('high'), label: '', fill: '-1'});
    sets.push({data: line('mean'), label: plan, borderColor: color(plan), backgroundColor: color(plan), clip: false});
  }
  return sets;
}

function legend() {
  for (const plan of plans) {
    const item = element('span', document.getElementById('legend'), undefined, 'plan');
    element('span', item, '● ').style.color = color(plan);
    element('code', item, plan);
  }
}

function accuracy() {
  for (const task of tasks) {
    chart(document.getElementById('accuracy'), task, {
      type: 'line',
      data: {labels: lengths.map(lengthText), datasets: accuracyLines(task)},
      options: {
        scales: {y: {min: 0, max: 100}},
        plugins: {legend: {display: false}, tooltip: {filter: item => item.dataset.label !== ''}}
      }
    });
  }
}

function shade(cell, score) {  // white to blue; the text turns white where it must
  const light = Math.round(95 - 60 * score);
  cell.style.background = `hsl(212 65% ${light}%)`;
  if (light < 60) cell.style.color = '#fff';
}

function heatMap(parent, plan, task) {
  const mine = results.filter(r => r.plan === plan && r.task === task);
  if (mine.every(r => r.needles.length === 0)) return;  // nothing stands anywhere
  const rows = 10, row = r => Math.min(rows - 1, Math.floor(r.depth * rows));
  const box = element('div', parent);
  element('h3', box, `${task} · ${plan}`);
  const table = element('table', box, undefined, 'heat');
  const head = element('tr', table);
  element('th', head, 'depth');
  for (const n of lengths) element('th', head, lengthText(n));
  for (let i = 0; i < rows; ++i) {
    const line = element('tr', table);
    element('th', line, `${i * 10}–${(i + 1) * 10}%`);
    for (const n of lengths) {
      const inside = mine.filter(r => r.length === n && row(r) === i);
      const cell = element('td', line, inside.length ? (100 * mean(inside.map(r => r.score))).toFixed(0) : '');
      if (inside.length === 0) { cell.className = 'empty'; continue; }
      shade(cell, mean(inside.map(r => r.score)));
      cell.dataset.prompts = inside.length;
      cell.title = `${inside.length} prompts`;
      cell.addEventListener('click', () => {
        showPrompts(inside);
        document.getElementById('prompts-title').scrollIntoView();
      });
    }
  }
}

function heatMaps() {
  for (const task of tasks) for (const plan of plans) heatMap(document.getElementById('heat'), plan, task);
}

function pareto() {
  const parent = document.getElementById('pareto');
  for (const group of data.pareto.groups) paretoGroup(parent, group, lengthText(group.length), color);
  for (const note of data.pareto.notes) element('p', parent, note, 'note');
}

function cellTable() {
  const table = document.getElementById('cells');
  const columns = [['plan', c => c.plan, 1], ['task', c => c.task, 1], ['length', c => lengthText(c.length)], ['prompts', c => c.prompts],
    ['score %', c => percent(c.score.mean)], ['95% interval', c => percent(c.score.low) + '–' + percent(c.score.high)],
    ['KL, nats', c => c.kl ? c.kl.mean.toFixed(4) : '–'], ['top-1 %', c => c.agreement ? percent(c.agreement.mean) : '–'],
    ['cache', c => bytes(c.kv_bytes)], ['kept', c => c.kept_tokens.toFixed(0)],
    ['prefill tok/s', c => c.time.prefill_tok_s.toFixed(0)], ['decode tok/s', c => c.time.decode_tok_s.toFixed(1)]];
  const head = element('tr', table);
  for (const [name, , text] of columns) element('th', head, name, text ? 'text' : '');
  for (const cell of cells) {
    const line = element('tr', table);
    for (const [, value, text] of columns) element('td', line, value(cell), text ? 'text' : '');
  }
}

function promptDetails(parent, r) {
  const box = element('details', parent);
  const line = element('summary', box, `${r.task} · ${lengthText(r.length)} · #${r.index} · ${r.plan} · depth ${percent(r.depth)}% · `);
  element('span', line, percent(r.score), r.score === 1 ? 'hit' : 'miss');
  box.addEventListener('toggle', () => {
    if (!box.open || box.children.length > 1) return;
    const list = element('dl', box);
    for (const [name, value] of [['Right answers', r.answers.join('\n')], ['Said', r.text], ['Needles', r.needles.join('\n')],
                                 [`Prompt (${r.prompt_tokens} tokens; what stands far from needles and ends is cut)`, r.excerpt]]) {
      element('dt', list, name);
      element('pre', element('dd', list), value);
    }
  });
}

function showPrompts(chosen) {
  const parent = document.getElementById('prompts'), most = 500;
  parent.textContent = '';
  document.getElementById('count').textContent =
      `${chosen.length} prompts` + (chosen.length > most ? `; the first ${most} are shown, choose to see others` : '');
  for (const r of chosen.slice(0, most)) promptDetails(parent, r);
}

function promptFilters() {
  const parent = document.getElementById('filters');
  const select = (name, values, text) => {
    const box = element('select', parent);
    element('option', box, 'all ' + name).value = '';
    for (const v of values) element('option', box, text(v)).value = v;
    box.addEventListener('change', update);
    return box;
  };
  const boxes = [['plan', select('plans', plans, String)], ['task', select('tasks', tasks, String)],
                 ['length', select('lengths', lengths, lengthText)]];
  const misses = select('scores', ['misses'], String);
  function update() {
    showPrompts(results.filter(r => boxes.every(([key, box]) => box.value === '' || String(r[key]) === box.value) &&
                                    (misses.value === '' || r.score < 1)));
  }
  update();
}

header();
legend();
accuracy();
heatMaps();
pareto();
cellTable();
promptFilters();
document.body.dataset.ready = 'yes';
