# Fit lmrob(y ~ X) to each of the files NAME.data in a folder: Rscript lmrob.R FOLDER [SECONDS]
#
# A file holds doubles: the number of rows, the number of columns, X by columns, y. NAME.fit gets the coefficients
# (NA for columns that lmrob drops), the scale, whether lmrob converged, the seconds, the fitted values and the
# robustness weights; NAME.error gets a message where lmrob fails or needs more than SECONDS.
suppressPackageStartupMessages(library(robustbase))

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
limit <- if (length(arguments) > 1) as.numeric(arguments[2]) else Inf

fit <- function(X, y) {
  attempt <- function(...) {
    set.seed(1)
    suppressWarnings(lmrob(y ~ X, control = lmrob.control(...)))
  }
  # Other settings than the defaults only where R's own messages recommend them.
  found <- tryCatch(attempt(), error = function(failure) {
    if (!grepl("fast.s.large.n", conditionMessage(failure))) stop(failure)
    attempt(fast.s.large.n = Inf)
  })
  if (!isTRUE(found$converged) && found$scale > 0) {
    found <- attempt(k.max = 5000, maxit.scale = 5000, max.it = 1000)
  }
  found
}

for (path in list.files(folder, "[.]data$", full.names = TRUE)) {
  name <- sub("[.]data$", "", path)
  n_values <- file.size(path) / 8
  values <- readBin(path, "double", n_values)
  n <- values[1]
  d <- values[2]
  X <- matrix(values[2 + seq_len(n * d)], n, d)
  y <- values[-seq_len(2 + n * d)]
  setTimeLimit(elapsed = limit, transient = TRUE)
  seconds <- system.time(found <- tryCatch(fit(X, y), error = identity))[["elapsed"]]
  setTimeLimit()
  if (inherits(found, "error")) {
    writeLines(conditionMessage(found), paste0(name, ".error"))
    next
  }
  writeBin(
    as.double(c(
      found$coefficients, found$scale, isTRUE(found$converged), seconds,
      found$fitted.values, found$rweights
    )),
    paste0(name, ".fit")
  )
}
