const age = document.getElementById("age");
function tell() {
  const seconds = Date.now() / 1000 - age.dataset.read;
  const minutes = Math.floor(seconds / 60);
  age.hidden = seconds < age.dataset.late;
  age.textContent = `Written ${minutes} ${minutes === 1 ? "minute" : "minutes"} ago: the watcher may have ended. annotate status STORE --watch --html FILE starts it again.`;
}
tell();
setInterval(tell, 5000);
