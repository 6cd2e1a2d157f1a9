'use strict';
const plans = unique(data.groups.flatMap(g => g.dots.map(d => d.plan)));
const color = plan => colors[plans.indexOf(plan) % colors.length];

for (const group of data.groups) {
  const parent = document.getElementById('groups');
  element('h2', parent, `${group.settings.model}, ${lengthText(group.length)} tokens`);
  element('p', parent, Object.entries(group.settings).map(([name, value]) => name.replace('_', ' ') + ' ' + value).join(' · '), 'note');
  paretoGroup(parent, group, 'All plans', color);
}
for (const note of data.notes) element('p', document.getElementById('notes'), note, 'note');
document.body.dataset.ready = 'yes';
