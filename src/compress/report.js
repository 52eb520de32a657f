// One tooltip for everything that has data-tip; a tap shows it too.
const tip = document.getElementById('tip');
function show(event) {
  const owner = event.target.closest?.('[data-tip]');
  tip.textContent = owner ? owner.dataset.tip : '';
  tip.style.display = owner ? 'block' : 'none';
  if (!owner) return;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 16 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? event.clientY + 16 : event.clientY - tip.offsetHeight - 10}px`;
}
addEventListener('pointermove', show);
addEventListener('pointerdown', show);
addEventListener('scroll', () => (tip.style.display = 'none'), { passive: true });
