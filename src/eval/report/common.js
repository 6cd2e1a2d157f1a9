'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
// Neighbours differ in hue, and every eighth in lightness.
const colors = ['#1b4f9c', '#c4541a', '#2c7a4b', '#8a3c93', '#8c6d1f', '#0f7f8c', '#b02a4b', '#555e6b',
                '#6f9be0', '#f0925e', '#74bf92', '#c98ad1', '#c9a94f', '#5cc0cc', '#e0748f', '#9aa3b0',
                '#0d2b57', '#7a2f09', '#16472a', '#4f1e55', '#55410e', '#084850', '#6a1429', '#2b3038'];
const unique = values => [...new Set(values)];
const mean = values => values.reduce((a, b) => a + b, 0) / values.length;
const lengthText = n => n % 1024 === 0 ? n / 1024 + 'K' : String(n);
const percent = x => (100 * x).toFixed(1);
const bytes = n => n >= 2 ** 30 ? (n / 2 ** 30).toFixed(2) + ' GiB' : n >= 2 ** 20 ? (n / 2 ** 20).toFixed(1) + ' MiB'
                                                                                     : (n / 1024).toFixed(0) + ' KiB';

function element(tag, parent, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  if (parent) parent.appendChild(e);
  return e;
}

function chart(parent, title, config) {
  const box = element('div', parent, undefined, 'chart');
  element('h3', box, title);
  const canvas = element('canvas', element('div', box));
  config.options = {animation: false, maintainAspectRatio: false, ...config.options};
  return new Chart(canvas, config);
}
